"""What `pulls` does with its flags: connect, read or follow, print, draw."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubectl_imagecache.cli import config
from kubectl_imagecache.cli.answer import Progress, policy, screen, warning
from kubectl_imagecache.cli.connect import Surrounding, clock, cluster_name, connection, reach, surrounding
from kubectl_imagecache.cli.options import Flags
from kubectl_imagecache.clients.kube.options import Scope
from kubectl_imagecache.core.errors import BadUsage, UserError
from kubectl_imagecache.core.kubelet_words import Word, understand
from kubectl_imagecache.core.pull_records import EventRecord, Record
from kubectl_imagecache.core.pull_report import PullReport
from kubectl_imagecache.core.pull_stats import By
from kubectl_imagecache.core.report import StatusReport
from kubectl_imagecache.core.views import Gap
from kubectl_imagecache.render.output import write
from kubectl_imagecache.render.pull_words import seconds
from kubectl_imagecache.render.pulls import pulls_view
from kubectl_imagecache.render.text import neutral
from kubectl_imagecache.usecases import pulls as usecase

TERMINAL = "-"
_LIVE_ONLY = ("context", "kubeconfig", "cluster", "user", "server", "project", "location", "sandbox")


@dataclass(frozen=True, slots=True)
class Asked:
    """The flags of `pulls` alone."""

    by: str
    since: float | None
    """Seconds."""
    logs: bool
    watch: Path | None
    watch_for: float | None
    """Seconds."""
    plot: str
    """A file, `-` for the terminal, or empty."""
    html: Path | None
    recording: Path | None


def answer_pulls(flags: Flags, pools: tuple[str, ...], asked: Asked) -> int:
    """Print the report on POOLS and write the pictures asked for; warnings on stderr.

    Raises UserError for what can't be read or written, BadUsage for flags that don't go together.
    """
    _check(flags, asked)
    path = flags.config or config.find(Path.cwd())
    settings = config.load(path) if path else config.Settings()
    scope = Scope(flags.namespaces, system=bool(flags.system if flags.system is not None else settings.system))
    options = usecase.Options(scope.counts, pools, flags.namespaces, By(asked.by), asked.since)
    progress = Progress(sys.stderr)
    with _connected(flags, settings, asked) as (sources, coverage):
        watch = None if asked.watch is None else usecase.Watch(asked.watch, _until(asked.watch_for), _heard(progress))
        try:
            report = usecase.pulls(sources, options, progress.say, watch)
            if asked.html:
                report = _with_coverage(report, coverage, progress)
        finally:
            progress.clear()
    shown = screen(flags, os.environ, sys.stdout)
    text = write(pulls_view(report), flags.output, shown)
    for gap in report.gaps:
        sys.stderr.write(warning(gap))
    if asked.plot == TERMINAL:
        from kubectl_imagecache.render.plot_terminal import draw

        text += "".join(f"{line}\n" for line in ["", *draw(report, shown)])
    sys.stdout.write(text)
    sys.stdout.flush()
    write_pictures(report, asked.plot, asked.html)
    return 0


def check_plot(plot: str, output: str) -> None:
    """Raise BadUsage for a --plot that says no kind of picture, or does not go with -o."""
    if plot == TERMINAL and output not in ("table", "wide"):
        raise BadUsage(f"--plot draws beneath a table, not -o {output}", "write it to a file: --plot=FILE.svg")
    if plot and plot != TERMINAL and Path(plot).suffix not in (".svg", ".png", ".html"):
        raise BadUsage(f"--plot can't tell what {plot!r} is to be", "FILE.svg, FILE.png or FILE.html")


def _check(flags: Flags, asked: Asked) -> None:
    check_plot(asked.plot, flags.output)
    if asked.recording:
        for name in _LIVE_ONLY:
            if getattr(flags, name):
                raise BadUsage(f"--from and --{name.replace('_', '-')} exclude each other", "the file is the cluster")
        if asked.logs:
            raise BadUsage(
                "--from and --logs exclude each other",
                "a recording holds what --watch --logs has read: leave out --logs",
            )


@contextmanager
def _connected(
    flags: Flags, settings: config.Settings, asked: Asked
) -> Iterator[tuple[usecase.Sources, Callable[[], StatusReport] | None]]:
    """Where pulls are read from, and how the pools' coverage is found out (None: it can't be)."""
    if asked.recording:
        source = f"recording {asked.recording.name}"
        yield usecase.Sources(None, asked.recording, None, clock(os.environ), "", "", source), None
        return
    with surrounding(flags, os.environ) as around:
        yield _live(flags, settings, around, asked.logs)


def _live(
    flags: Flags, settings: config.Settings, around: Surrounding, want_logs: bool
) -> tuple[usecase.Sources, Callable[[], StatusReport]]:
    from kubectl_imagecache.clients.logging import read_layers
    from kubectl_imagecache.usecases.status import Options, status

    there = reach(flags, around)
    kube, target = there.kube, there.target()
    if want_logs and isinstance(target, Gap):
        raise UserError(f"can't read the snapshotters' log: {target.why}", target.hint)
    logs: usecase.Logs | None = None
    if want_logs and not isinstance(target, Gap):
        logs = functools.partial(read_layers, there.google, target)

    def coverage() -> StatusReport:
        sources = connection(there, Scope(flags.namespaces), around).sources
        return status(sources, Options(policy=policy(flags, settings)), lambda _: None)

    sources = usecase.Sources(
        kube,
        None,
        logs,
        around.clock,
        kube.server if isinstance(target, Gap) else cluster_name(target),
        kube.context,
        around.source,
    )
    return sources, coverage


def _with_coverage(report: PullReport, coverage: Callable[[], StatusReport] | None, progress: Progress) -> PullReport:
    if coverage is None:
        return report
    progress.say("comparing the pools' cache disks")
    try:
        return dataclasses.replace(report, status=coverage())
    except UserError as error:
        gap = Gap("the pools' coverage", error.message, error.hint)
        return dataclasses.replace(report, gaps=(*report.gaps, gap))


def _until(seconds_: float | None) -> Callable[[], float | None]:
    if seconds_ is None:
        return lambda: None
    end = time.monotonic() + seconds_
    return lambda: end - time.monotonic()


def _heard(progress: Progress) -> Callable[[Record], None]:
    """Says each pull on its own line on stderr."""

    def heard(record: Record) -> None:
        if not isinstance(record, EventRecord):
            return
        said = understand(record.reason, record.message)
        where = f"{neutral(said.image)} on {neutral(record.node) or '(unknown)'}"
        if said.word is Word.PULLED and said.pulled is not None and said.pulled.seconds is not None:
            progress.tell(f"pulled {where} in {seconds(said.pulled.seconds)}")
        elif said.word is Word.FAILED:
            progress.tell(f"failed {where}: {neutral(said.why)}")

    return heard


def write_pictures(report: PullReport, plot: str, html: Path | None) -> None:
    """Write REPORT's picture to the file PLOT (empty, TERMINAL: none) and its page to HTML; raise UserError."""
    files: list[Path] = [Path(plot)] if plot not in ("", TERMINAL) else []
    files += [html] if html else []
    for file in files:
        content = _picture(report, file, page=file == html)
        try:
            file.write_bytes(content)
        except OSError as error:
            raise UserError(f"can't write {file}: {error.strerror}") from error


def _picture(report: PullReport, file: Path, page: bool) -> bytes:
    if page or file.suffix == ".html":
        from kubectl_imagecache.render.plot_html import page_of

        return page_of(report, whole=page).encode()
    from kubectl_imagecache.render.plot import picture

    if file.suffix == ".svg":
        from kubectl_imagecache.render.plot_svg import svg

        return svg(picture(report)).encode()
    from kubectl_imagecache.render.plot_png import png

    return png(picture(report))
