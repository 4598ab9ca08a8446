"""The program on the VM: `build JOB.json` fills a disk, `verify --device D` or `--folder F` reads one back."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from kubectl_imagecache.builder import disk, layout
from kubectl_imagecache.builder.build import build
from kubectl_imagecache.builder.failures import CRASHED, DISK, STOPPED, BuildFailed, printable
from kubectl_imagecache.builder.job import Target, decode
from kubectl_imagecache.builder.report import Reporter

if TYPE_CHECKING:
    from kubectl_imagecache.builder.verify import Holds

_CHAIN_IDS_A_LINE = 40


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
            from kubectl_imagecache.builder.verify import verify  # a build starts sooner without it

            target = Target(device=options.device or "", folder=options.folder or "")
            if target.device and options.contents:
                disk.check(target.device)
            with disk.readable(target) as root:
                _say_what_it_holds(verify(root, contents=options.contents, on_layer=_teller(reporter)), reporter)
            reporter.say("done", seconds=round(time.monotonic() - began, 1))
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
    reading = commands.add_parser("verify", help="read a disk back and compare it with its metadata")
    which = reading.add_mutually_exclusive_group(required=True)
    which.add_argument("--device", help="a block device; mounted read-only")
    which.add_argument("--folder", help="where the disk is mounted already")
    reading.add_argument(
        "--no-contents", dest="contents", action="store_false", help="read the metadata alone, not the files"
    )
    return parser


def _stopped(number: int, frame: FrameType | None) -> None:
    for again in (signal.SIGTERM, signal.SIGINT):
        signal.signal(again, signal.SIG_IGN)  # the disk is being unmounted: once is enough
    raise BuildFailed(STOPPED, f"stopped by {signal.Signals(number).name}")


def _fail(reporter: Reporter, failure: BuildFailed) -> int:
    reporter.say("failed", kind=failure.kind, message=failure.message, hint=failure.hint, needed=failure.needed)
    return 1


def _teller(reporter: Reporter) -> Callable[[str, int, int], None]:
    def tell(chain_id: str, count: int, of: int) -> None:
        reporter.say("verified", layer=chain_id, count=count, of=of)

    return tell


def _say_what_it_holds(holds: Holds, reporter: Reporter) -> None:
    for row in holds.images:
        reporter.say(
            "holds",
            image=printable(row.reference, limit=4096),
            digest=printable(row.digest),
            platforms=printable(row.platforms),
            size=printable(row.size),
        )
    for at in range(0, len(holds.chain_ids), _CHAIN_IDS_A_LINE):
        reporter.say("layers", chain_ids=holds.chain_ids[at : at + _CHAIN_IDS_A_LINE])
    reporter.say(
        "checked", layers=holds.checked, of=len(holds.chain_ids), record=layout.RECORD if holds.record else None
    )


if __name__ == "__main__":
    sys.exit(main())
