"""The program on the VM: `build JOB.json` fills a disk, `read --device D` or `--folder F` says what one holds."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from kubectl_imagecache.builder.build import build
from kubectl_imagecache.builder.failures import CRASHED, DISK, STOPPED, TOO_LARGE, BuildFailed, printable
from kubectl_imagecache.builder.job import decode
from kubectl_imagecache.builder.report import Reporter

if TYPE_CHECKING:
    from kubectl_imagecache.core.survey import Survey

_PAUSE_S = 30.0
"""Between two rounds of the same report."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its report goes to standard output. Exit status 0, or 1 after a `failed` event."""
    options = _parser().parse_args(arguments)
    reporter = Reporter(sys.stdout)
    signal.signal(signal.SIGTERM, _stopped)
    signal.signal(signal.SIGINT, _stopped)
    began = time.monotonic()
    try:
        if options.command == "build":
            job = decode(Path(options.job).read_bytes())
            contents = build(job, reporter)
            reporter.say("done", images=len(contents.images), seconds=round(time.monotonic() - began, 1))
        else:
            found = _read(options, reporter)
            _report(found, reporter)
            reporter.say("done", findings=len(found.findings), seconds=round(time.monotonic() - began, 1))
            _repeat(found, reporter, options.rounds)
    except BuildFailed as failure:
        return _fail(reporter, failure)
    except OSError as error:
        return _fail(reporter, BuildFailed(DISK, printable(f"{error.filename or ''}: {error.strerror}")))
    except Exception as error:  # noqa: BLE001 - the client sees nothing but this report
        return _fail(
            reporter, BuildFailed(CRASHED, printable(f"{type(error).__name__}: {error}"), "please report this")
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="builder", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("build", help="fill a disk as a job says")
    making.add_argument("job", help="the job, a JSON file")
    reading = commands.add_parser("read", help="say what a disk holds, and what is wrong with it")
    which = reading.add_mutually_exclusive_group(required=True)
    which.add_argument("--device", help="a block device; mounted read-only")
    which.add_argument("--folder", help="where the disk is mounted already")
    reading.add_argument("--contents", action="store_true", help="compare the files with their checksums")
    reading.add_argument("--rounds", type=int, default=1, help="how often to report: text may be lost on its way")
    return parser


def _stopped(number: int, frame: FrameType | None) -> None:
    for again in (signal.SIGTERM, signal.SIGINT):
        signal.signal(again, signal.SIG_IGN)  # the disk is being unmounted: once is enough
    raise BuildFailed(STOPPED, f"stopped by {signal.Signals(number).name}")


def _fail(reporter: Reporter, failure: BuildFailed) -> int:
    reporter.say("failed", kind=failure.kind, message=failure.message, hint=failure.hint, needed=failure.needed)
    return 1


def _read(options: argparse.Namespace, reporter: Reporter) -> Survey:
    from kubectl_imagecache.builder.survey import survey, survey_device  # a build starts sooner without them

    reporter.say("phase", phase="read the files" if options.contents else "read the metadata")

    def on_layer(done: int, total: int) -> None:
        reporter.progress(done, total, {})

    if options.folder:
        return survey(options.folder, contents=options.contents, on_layer=on_layer)
    return survey_device(options.device, contents=options.contents, on_layer=on_layer)


def _report(found: Survey, reporter: Reporter) -> None:
    from kubectl_imagecache.core.survey_wire import EVENT, pieces

    try:
        lines = pieces(found)
    except ValueError as error:
        raise BuildFailed(TOO_LARGE, str(error)) from error
    for fields in lines:
        reporter.say(EVENT, **fields)


def _repeat(found: Survey, reporter: Reporter, rounds: int) -> None:
    """Say it again and again: the client takes from each round what it lacks, and then deletes the machine."""
    for _ in range(rounds - 1):
        time.sleep(_PAUSE_S)
        _report(found, reporter)
    reporter.say("over")


if __name__ == "__main__":
    sys.exit(main())
