"""From flags to sources: a live cluster, a sandbox, or a folder of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kubectl_imagecache.cli.config import Settings
from kubectl_imagecache.cli.options import Flags
from kubectl_imagecache.cli.sandbox_clock import work_clock
from kubectl_imagecache.clients.kube.options import KubeOptions, Scope
from kubectl_imagecache.clients.retry import REAL, Pace
from kubectl_imagecache.core.clock import Clock, SystemClock
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.views import CloudView, Gap
from kubectl_imagecache.usecases.status import Sources

if TYPE_CHECKING:
    from kubectl_imagecache.clients.google_auth import GoogleAuth
    from kubectl_imagecache.clients.google_http import GoogleHttp
    from kubectl_imagecache.clients.http import Http
    from kubectl_imagecache.clients.kube import Kube
    from kubectl_imagecache.clients.target import ClusterTarget

NOW = "KUBECTL_IMAGECACHE_NOW"
"""Environment variable: the present, ISO 8601, as a sandbox sets it so that ages repeat."""
DISKS = "KUBECTL_IMAGECACHE_SANDBOX_DISKS"
"""Environment variable: a folder in which a sandbox of one command leaves the disks that it built for real."""
_LIVE_ONLY = ("context", "kubeconfig", "cluster", "user", "server", "project", "location")


@dataclass(frozen=True, slots=True)
class FixedClock:
    """A clock that stands still."""

    moment: datetime

    def now(self) -> datetime:
        """The moment."""
        return self.moment

    def sleep(self, seconds: float) -> None:
        """Wait in real time: only reading the clock is fixed."""
        SystemClock().sleep(seconds)


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a status is read from, and how that is kept."""

    sources: Sources
    save: Callable[[Path], None]
    """Write what was read to a folder, once the status is made."""


@dataclass(frozen=True, slots=True)
class Surrounding:
    """The environment that clients are made from, and the time that goes with it."""

    env: Mapping[str, str]
    clock: Clock
    source: str


@contextmanager
def connected(flags: Flags, settings: Settings, env: Mapping[str, str]) -> Iterator[Connection]:
    """The cluster that FLAGS name, for as long as the context lasts; raises UserError where there is none."""
    _check(flags)
    scope = scope_of(flags, settings)
    if flags.from_folder:
        yield Connection(_files(flags, flags.from_folder, scope, env), _nothing_to_save)
    else:
        with surrounding(flags, env) as around:
            yield live(flags, scope, around)


@contextmanager
def surrounding(flags: Flags, env: Mapping[str, str]) -> Iterator[Surrounding]:
    """ENV, or that of the sandbox that FLAGS ask for, which lasts as long as the context."""
    with inside(flags.sandbox, env) as around:
        yield around


@contextmanager
def inside(scenario: str, env: Mapping[str, str]) -> Iterator[Surrounding]:
    """ENV, or with a SCENARIO that of a sandbox, which lasts as long as the context."""
    if not scenario:
        yield Surrounding(env, clock(env), "live")
        return
    from kubectl_imagecache.sandbox.embedded import Sandbox
    from kubectl_imagecache.sandbox.embedded import Settings as SandboxSettings

    disks = Path(env[DISKS]) if env.get(DISKS) else None
    with Sandbox(SandboxSettings(scenario=scenario, disks=disks)) as sandbox:
        its = {**env, **sandbox.env()}
        # The sandbox's made-up images have no place among the user's real ones.
        its["XDG_CACHE_HOME"] = str(Path(its["KUBECONFIG"]).with_name("cache"))
        yield Surrounding(its, work_clock(its), f"sandbox {scenario}")


def scope_of(flags: Flags, settings: Settings) -> Scope:
    """Which pods count."""
    return Scope(
        flags.namespaces,
        flags.selector,
        bool(_chosen(flags.system, settings.system)),
        bool(_chosen(flags.include_templates, settings.include_templates)),
    )


def clock(env: Mapping[str, str]) -> Clock:
    """The clock that ENV asks for; raise BadUsage for a moment that is none."""
    text = env.get(NOW, "")
    if not text:
        return SystemClock()
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise BadUsage(f"{NOW} is no ISO 8601 time: {text!r}", "such as 2026-01-15T09:00:00+00:00") from None
    return FixedClock(moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc))


def kube_options(flags: Flags) -> KubeOptions:
    """kubectl's flags."""
    return KubeOptions(
        flags.context,
        flags.kubeconfig,
        flags.cluster,
        flags.user,
        flags.as_user,
        flags.as_groups,
        flags.as_uid,
        flags.request_timeout,
        flags.server,
    )


def _chosen(flag: bool | None, setting: bool | None) -> bool | None:
    return setting if flag is None else flag


def _check(flags: Flags) -> None:
    if flags.sandbox and flags.from_folder:
        raise BadUsage("--sandbox and --from exclude each other")
    if flags.save_folder and flags.from_folder:
        raise BadUsage("--save and --from exclude each other")
    source = "--sandbox" if flags.sandbox else "--from" if flags.from_folder else ""
    for name in _LIVE_ONLY if source else ():
        if getattr(flags, name):
            raise BadUsage(f"{source} and --{name.replace('_', '-')} exclude each other", f"{source} is the cluster")


def _files(flags: Flags, folder: Path, scope: Scope, env: Mapping[str, str]) -> Sources:
    from kubectl_imagecache.clients import bundle
    from kubectl_imagecache.clients.registry import Registry

    kube, cloud = bundle.read(folder, scope, flags.cluster_name)
    return Sources(
        kube=lambda: kube,
        cloud=lambda: cloud,
        disk_images=lambda refs: CloudView(),
        registry=Registry.from_env(env).facts_many if flags.layers else None,
        clock=clock(env),
        cluster=lambda: flags.cluster_name,
        context="",
        source=f"files in {folder}",
    )


def _nothing_to_save(folder: Path) -> None:
    raise BadUsage("--save and --from exclude each other")


@dataclass(frozen=True, slots=True)
class Reach:
    """The clients of one live cluster, and which cluster of GKE it is."""

    kube: Kube
    http: Http
    auth: GoogleAuth
    google: GoogleHttp
    target: Callable[[], ClusterTarget | Gap]
    """Asked once, when it is first needed; a Gap where it can't be told."""


def reach(flags: Flags, around: Surrounding) -> Reach:
    """Connect to the cluster that FLAGS name, in AROUND."""
    from kubectl_imagecache.clients import google_auth
    from kubectl_imagecache.clients.gke import Gke
    from kubectl_imagecache.clients.google_http import GoogleHttp
    from kubectl_imagecache.clients.kube import Kube
    from kubectl_imagecache.clients.target import gcloud_config, guess

    env = around.env
    kube = Kube.connect(kube_options(flags), env)
    http = http_of(flags, env)
    auth = google_auth.from_env(env, http)
    google = GoogleHttp.from_env(env, http, auth)

    @cache
    def target() -> ClusterTarget | Gap:
        named = (flags.project, flags.location, flags.cluster_name)
        return guess(named, kube.context, kube.server, Gke(google).clusters, lambda: gcloud_config(env))

    return Reach(kube, http, auth, google, target)


def live(flags: Flags, scope: Scope, around: Surrounding) -> Connection:
    """The cluster that FLAGS name, in AROUND."""
    return connection(reach(flags, around), scope, around)


def connection(there: Reach, scope: Scope, around: Surrounding) -> Connection:
    """A status of the cluster THERE."""
    from kubectl_imagecache.clients.compute import Compute, cloud_view
    from kubectl_imagecache.clients.gke import Gke
    from kubectl_imagecache.clients.registry import Registry

    kube, target = there.kube, there.target
    gke, compute = Gke(there.google), Compute(there.google)
    seen: list[CloudView] = []

    def cluster() -> str:
        found = target()
        return kube.server if isinstance(found, Gap) else cluster_name(found)

    def noted(view: CloudView) -> CloudView:
        seen.append(view)
        return view

    sources = Sources(
        kube=lambda: kube.view(scope),
        cloud=lambda: noted(cloud_view(gke, compute, target())),
        disk_images=lambda refs: noted(cloud_view(None, compute, target(), refs)),
        registry=Registry.from_env(around.env, there.http, there.auth).facts_many,
        clock=around.clock,
        cluster=cluster,
        context=kube.context,
        source=around.source,
    )

    def save(folder: Path) -> None:
        found = target()
        _save(folder, kube, None if isinstance(found, Gap) else found, seen)

    return Connection(sources, save)


def http_of(flags: Flags, env: Mapping[str, str], pace: Pace = REAL) -> Http:
    """Connections to Google and registries, within --request-timeout, waiting by PACE."""
    from kubectl_imagecache.clients.http import Http, Limits

    return Http(Limits(read_s=flags.request_timeout) if flags.request_timeout else Limits(), pace=pace, env=env)


def cluster_name(target: ClusterTarget) -> str:
    """GKE's whole name of a cluster."""
    return f"projects/{target.project}/locations/{target.location}/clusters/{target.name}"


def _save(folder: Path, kube: Kube, target: ClusterTarget | None, seen: list[CloudView]) -> None:
    from kubectl_imagecache.clients.bundle_writer import Parts, write
    from kubectl_imagecache.clients.kube.templates import KINDS

    cloud = CloudView(
        next((view.pools for view in seen if view.pools is not None), None),
        {ref: image for view in seen for ref, image in view.disk_images.items()},
        {family: image for view in seen for family, image in view.newest.items()},
    )
    pages = {resource: kube.json_pages(resource) for resource in ("pods", "nodes", "events", *KINDS)}
    write(folder, Parts(pages, target, cloud))
