"""A bench in this process, on a sandbox and in its virtual time."""

from __future__ import annotations

from pathlib import Path

from kubectl_imagecache.cli.sandbox_clock import work_clock
from kubectl_imagecache.clients.gke_roll import RollGke
from kubectl_imagecache.clients.google_http import GoogleHttp
from kubectl_imagecache.clients.http import Http
from kubectl_imagecache.clients.kube import Kube
from kubectl_imagecache.clients.kube.bench import BenchKube
from kubectl_imagecache.clients.kube.options import KubeOptions
from kubectl_imagecache.clients.retry import Pace
from kubectl_imagecache.clients.target import ClusterTarget
from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.sandbox.scenarios.stage import LOCATION, PROJECT
from kubectl_imagecache.usecases.bench_sweep import Tools


def tools(sandbox: Sandbox, home: Path, who: str = "me@here/1", said: list[str] | None = None) -> Tools:
    """What a bench works with, its retries in virtual time too; what it tells goes to SAID."""
    env = {**sandbox.env(), "HOME": str(home)}
    clock = work_clock(env)
    kube = BenchKube(Kube.connect(KubeOptions(), env, home, clock).transport)
    pace = Pace(lambda: clock.now().timestamp(), clock.sleep)
    target = ClusterTarget(PROJECT, LOCATION, sandbox.cluster, "")
    gke = RollGke(GoogleHttp.from_env(env, Http(env=env, pace=pace)), target)
    lines = said if said is not None else []
    return Tools(kube, gke, clock, who, lambda _: None, lines.append)
