"""The flags that status, list and diff share: kubectl's, Google's and our own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from kubectl_imagecache.cli import quantities
from kubectl_imagecache.core.errors import BadUsage

DEFAULT_SCENARIO = "stale"


@dataclass(frozen=True, slots=True)
class Flags:
    """The shared flags as given; None or empty where one wasn't."""

    context: str
    kubeconfig: str
    cluster: str
    user: str
    as_user: str
    as_groups: tuple[str, ...]
    as_uid: str
    server: str
    request_timeout: float | None
    """Seconds; 0 is no limit."""
    namespaces: tuple[str, ...]
    all_namespaces: bool
    selector: str
    project: str
    location: str
    cluster_name: str
    include_templates: bool | None
    system: bool | None
    layers: bool
    min_coverage: float | None
    min_size: int | None
    """Bytes."""
    ignore: tuple[str, ...]
    rate: float | None
    """Bytes/s."""
    config: Path | None
    from_folder: Path | None
    save_folder: Path | None
    sandbox: str
    """Scenario; empty: no sandbox."""
    output: str
    no_headers: bool
    color: str
    exit_code: bool


class Option(click.Option):
    """An option that stands under a heading of --help."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class Command(click.Command):
    """A command whose help has worked examples, and whose flags stand under headings."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A bare --sandbox means the default scenario: it never takes the next word, which may be a pool."""
        return super().parse_args(ctx, with_scenario(args))

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help text, with the name that the user typed."""
        from kubectl_imagecache.cli.main import fill

        for paragraph in fill(self.help or "", ctx.find_root().info_name or ""):
            formatter.write(paragraph)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options by heading."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                sections.setdefault(getattr(param, "section", _OUTPUT), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def with_scenario(args: list[str]) -> list[str]:
    """ARGS with each bare `--sandbox` and `--verify` spelled out."""
    end = args.index("--") if "--" in args else len(args)
    bare = {"--sandbox": f"--sandbox={DEFAULT_SCENARIO}", "--verify": "--verify=disk"}
    return [bare.get(a, a) for a in args[:end]] + args[end:]


class Quantity(click.ParamType):  # type: ignore[type-arg] # generic since click 8.4 only
    """A text that one of `quantities` reads."""

    def __init__(self, name: str, read: Callable[[str], float]) -> None:
        self.name, self._read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """VALUE read; a usage error with the reason otherwise."""
        try:
            return self._read(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


class OutputFormat(click.ParamType):  # type: ignore[type-arg] # generic since click 8.4 only
    """What -o takes."""

    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """VALUE checked, its template too, before anything is read."""
        if value == "table":
            return value
        from kubectl_imagecache.render.output import check_format

        check_format(value)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The formats."""
        from kubectl_imagecache.render.formats import FORMATS

        return [CompletionItem(name, help=text) for name, text in FORMATS.items() if name.startswith(incomplete)]


class Scenario(click.ParamType):  # type: ignore[type-arg] # generic since click 8.4 only
    """The name of a sandbox scenario."""

    name = "scenario"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """VALUE if there is such a scenario."""
        if not value or (ctx and ctx.resilient_parsing):
            return value
        from kubectl_imagecache.sandbox.scenarios import check

        return check(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The scenarios."""
        from kubectl_imagecache.sandbox.scenarios import SCENARIOS

        return [CompletionItem(name, help=text) for name, text in SCENARIOS.items() if name.startswith(incomplete)]


def _timeout(text: str) -> float:
    from kubectl_imagecache.clients.kube.options import parse_timeout

    return parse_timeout(text)


def _contexts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from kubectl_imagecache.cli.candidates import contexts

    return [CompletionItem(name) for name in contexts(ctx.params) if name.startswith(incomplete)]


def complete_disk_images(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Disk images of the cluster's project."""
    from kubectl_imagecache.cli.candidates import disk_images

    return [CompletionItem(name) for name in disk_images(ctx.params) if name.startswith(incomplete)]


def complete_pools(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The cluster's node pools that aren't named yet."""
    from kubectl_imagecache.cli.candidates import pools

    given = ctx.params.get("pools") or ()
    return [CompletionItem(p) for p in pools(ctx.params) if p.startswith(incomplete) and p not in given]


def complete_compute_classes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """ComputeClasses that the cluster's nodes belong to."""
    from kubectl_imagecache.cli.candidates import compute_classes

    return [CompletionItem(name) for name in compute_classes(ctx.params) if name.startswith(incomplete)]


_FOLDER = click.Path(file_okay=False, path_type=Path)
_CLUSTER, _GOOGLE, _COUNTS, _OUTPUT, _SOURCE = (
    "Cluster (as in kubectl)",
    "Google Cloud (guessed from the context if not given)",
    "What counts",
    "Output",
    "Instead of a cluster",
)


def _option(section: str, *names: str, **settings: Any) -> Callable[[Any], Any]:
    return click.option(*names, cls=Option, section=section, **settings)


def _connecting(option: Callable[..., Callable[[Any], Any]]) -> Iterator[Callable[[Any], Any]]:
    yield option(_CLUSTER, "--context", default="", shell_complete=_contexts, help="The kubeconfig context to use.")
    yield option(
        _CLUSTER, "--kubeconfig", default="", type=click.Path(dir_okay=False), help="The kubeconfig file to use."
    )
    yield option(_CLUSTER, "--cluster", default="", help="The kubeconfig cluster to use.")
    yield option(_CLUSTER, "--user", default="", help="The kubeconfig user to use.")
    yield option(_CLUSTER, "-s", "--server", default="", help="The address of the API server.")
    yield option(_CLUSTER, "--as", "as_user", default="", help="User to impersonate.")
    yield option(_CLUSTER, "--as-group", "as_groups", multiple=True, help="Group to impersonate (repeatable).")
    yield option(_CLUSTER, "--as-uid", default="", help="UID to impersonate.")
    yield option(
        _CLUSTER,
        "--request-timeout",
        type=Quantity("duration", _timeout),
        help="Limit for one request: 5s, 2m; 0 is none.",
    )
    yield option(_GOOGLE, "--project", default="", help="The cluster's project.")
    yield option(_GOOGLE, "--location", default="", help="The cluster's region or zone.")
    yield option(_GOOGLE, "--cluster-name", default="", help="The cluster's name in GKE.")


def _options(without: Collection[str] = ()) -> Iterator[Callable[[Any], Any]]:
    def option(section: str, *names: str, **settings: Any) -> Callable[[Any], Any]:
        return _option(section, *names, **settings) if set(names).isdisjoint(without) else lambda function: function

    yield from _connecting(option)
    yield option(
        _CLUSTER, "-n", "--namespace", "namespaces", multiple=True, help="Count only pods of this one (repeatable)."
    )
    yield option(_CLUSTER, "-A", "--all-namespaces", is_flag=True, help="Count pods of all namespaces (the default).")
    yield option(_CLUSTER, "-l", "--selector", default="", help="Count only pods with these labels.")
    yield from _counting(option)
    yield from _showing(option)


def _counting(option: Callable[..., Callable[[Any], Any]]) -> Iterator[Callable[[Any], Any]]:
    yield option(
        _COUNTS,
        "--include-templates/--no-include-templates",
        default=None,
        help="Count workloads that run nothing now (scaled to zero, CronJobs).",
    )
    yield option(_COUNTS, "--system/--no-system", default=None, help="Count system namespaces too.")
    yield option(_COUNTS, "--layers", is_flag=True, help="Compare layer by layer (asks the registries).")
    yield option(
        _COUNTS,
        "--min-coverage",
        type=Quantity("share", quantities.share),
        help="Fresh from this coverage on: 90% or 0.9; default 100%.",
    )
    yield option(
        _COUNTS, "--min-size", type=Quantity("size", quantities.size), help="Ignore smaller images: 100Mi, 2GiB, 50MB."
    )
    yield option(_COUNTS, "--ignore", multiple=True, metavar="PATTERN", help="Ignore matching images (repeatable).")
    yield option(
        _COUNTS,
        "--rate",
        type=Quantity("rate", quantities.rate),
        help="Registry pull rate for estimates: 40MiB/s; default 34.7MiB/s.",
    )
    yield option(
        _COUNTS,
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Settings for the flags above; default .imagecache.yaml here or in the git root.",
    )


def _showing(option: Callable[..., Callable[[Any], Any]]) -> Iterator[Callable[[Any], Any]]:
    yield option(
        _OUTPUT,
        "-o",
        "--output",
        type=OutputFormat(),
        default="table",
        help="table, wide, json, yaml, name, csv, markdown, jsonpath=… or custom-columns=…",
    )
    yield option(_OUTPUT, "--no-headers", is_flag=True, help="Only the rows: no headers, no text beneath.")
    yield option(
        _OUTPUT,
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        help="Default auto: on a terminal, unless NO_COLOR is set.",
    )
    yield option(
        _OUTPUT,
        "--exit-code",
        is_flag=True,
        help="Exit 3 if a pool is stale, 4 if one is unknown or broken; otherwise 0.",
    )
    yield option(_OUTPUT, "--debug", is_flag=True, expose_value=False, help="Show a traceback if something goes wrong.")
    yield option(_SOURCE, "--from", "from_folder", type=_FOLDER, help="Read a folder of files that --save wrote.")
    yield option(_SOURCE, "--save", "save_folder", type=_FOLDER, help="Also write what was read, for --from.")
    yield _sandbox(option)


def _sandbox(option: Callable[..., Callable[[Any], Any]]) -> Callable[[Any], Any]:
    text = "Show it on a sandbox cluster."
    return option(_SOURCE, "--sandbox", type=Scenario(), default="", metavar="[=SCENARIO]", help=text)


_ABSENT: dict[str, Any] = {
    "include_templates": None,
    "layers": False,
    "from_folder": None,
    "save_folder": None,
    "exit_code": False,
    "selector": "",
    "min_size": None,
}
"""What a flag that a command does without counts as."""


def with_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command POOL arguments and the shared flags; it is called as FUNCTION(pools, flags, **its own)."""
    return with_flags_except()(function)


def with_flags_except(*without: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """As with_flags, but without the flags spelled so (`--layers`): those of _ABSENT only."""
    return lambda function: _decorated(function, without)


def _decorated(function: Callable[..., Any], without: Collection[str]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(pools: tuple[str, ...], **given: Any) -> Any:
        names = [field.name for field in fields(Flags)]
        flags = Flags(**{name: given.pop(name) if name in given else _ABSENT[name] for name in names})
        if flags.all_namespaces and flags.namespaces:
            raise BadUsage("--all-namespaces and --namespace exclude each other")
        return function(pools, flags, **given)

    decorated: Callable[..., Any] = call
    for option in reversed(list(_options(without))):
        decorated = option(decorated)
    return click.argument("pools", nargs=-1, metavar="[POOL]...", shell_complete=complete_pools)(decorated)


def with_cluster_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command only the flags that name a cluster or a sandbox; it is called as FUNCTION(flags=…, **its own)."""
    nothing: dict[str, Any] = dict.fromkeys((field.name for field in fields(Flags)), "")
    nothing |= {"namespaces": (), "ignore": (), "as_groups": (), "output": "table", "color": "auto", "config": None}
    nothing |= dict.fromkeys(("include_templates", "system", "min_coverage", "min_size", "rate", "request_timeout"))
    nothing |= dict.fromkeys(("from_folder", "save_folder"))
    nothing |= dict.fromkeys(("all_namespaces", "layers", "no_headers", "exit_code"), False)

    @functools.wraps(function)
    def call(**given: Any) -> Any:
        mine = {name: given.pop(name) for name in nothing if name in given}
        return function(flags=Flags(**{**nothing, **mine}), **given)

    decorated: Callable[..., Any] = call
    for option in reversed([*_connecting(_option), _sandbox(_option)]):
        decorated = option(decorated)
    return decorated
