"""The clients against the sandbox, with the real kubectl and the real gcloud as judges of what was read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubectl_imagecache.clients import bundle
from kubectl_imagecache.clients.compute import Compute, cloud_view
from kubectl_imagecache.clients.gke import Gke
from kubectl_imagecache.clients.google_http import GoogleHttp
from kubectl_imagecache.clients.kube import Kube
from kubectl_imagecache.clients.kube.options import KubeOptions, Scope
from kubectl_imagecache.clients.registry import Registry
from kubectl_imagecache.clients.target import ClusterTarget, gcloud_config, guess
from kubectl_imagecache.core.contents import ImageFacts
from kubectl_imagecache.core.errors import Unauthenticated
from kubectl_imagecache.core.pools import DiskState
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.core.views import CloudView
from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.faults import Fault


@pytest.fixture(params=["stale", "broken"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(Settings(request.param)) as running:
        yield running


def env_of(sandbox: Sandbox, tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        **sandbox.env(),
    }


def view_of(sandbox: Sandbox, env: dict[str, str]) -> CloudView:
    google = GoogleHttp.from_env(env)
    gke = Gke(google)
    target = guess(("", "", ""), sandbox.context, sandbox.url("kube"), gke.clusters, lambda: gcloud_config(env))
    assert isinstance(target, ClusterTarget)
    kube = Kube.connect(KubeOptions(), env).view(Scope())
    labelled = sorted({ref for node in kube.nodes for ref in node.cache_disks})
    return cloud_view(gke, Compute(google), target, labelled)


def test_what_we_read_is_what_kubectl_and_gcloud_print(sandbox: Sandbox, tmp_path: Path) -> None:
    env = env_of(sandbox, tmp_path)
    live = view_of(sandbox, env)
    place = tmp_path / "printed"
    place.mkdir()
    project, location = sandbox.context.split("_")[1:3]
    for name, command in (
        ("kubernetes", ["kubectl", "get", "pods,nodes,events", "-A", "-o", "json"]),
        ("cluster", ["gcloud", "container", "clusters", "describe", sandbox.cluster, "--location", location]),
        ("images", ["gcloud", "compute", "images", "list", "--show-deprecated"]),
    ):
        if command[0] == "gcloud":
            command = [*command, "--format=json", "--project", project]
        done = subprocess.run(command, env=env, capture_output=True, check=True)
        (place / f"{name}.json").write_bytes(done.stdout)
    kube, offline = bundle.read(place, Scope())
    # What is in Cloud Storage can't be read offline, and what is missing can't be told from what is not listed.
    present = {ref: image for ref, image in live.disk_images.items() if image.state is not DiskState.MISSING}
    assert live.gaps == ()
    assert offline.pools == live.pools
    assert {ref: image.id for ref, image in offline.disk_images.items()} == {r: i.id for r, i in present.items()}
    assert {ref: image.state for ref, image in offline.disk_images.items()} == {
        ref: image.state for ref, image in present.items()
    }
    assert offline.newest == live.newest
    assert kube.nodes == Kube.connect(KubeOptions(), env).view(Scope()).nodes


def test_every_image_of_the_sandbox_is_what_the_catalog_says(tmp_path: Path) -> None:
    with Sandbox(Settings("stale")) as sandbox:
        env = env_of(sandbox, tmp_path)
        wanted = [(parse(f"{name}:{tag}"), "linux/amd64") for name, tag, _ in sandbox.catalog.references()]
        found = Registry.from_env(env).facts_many(wanted)
        again = Registry.from_env(env).facts_many(wanted)
        for (ref, _), facts in found.items():
            if isinstance(facts, ImageFacts):
                expected = sandbox.catalog.facts(str(ref), "amd64")
                assert facts.digests == expected.digests, ref
                assert [layer.chain_id for layer in facts.layers] == [layer.chain_id for layer in expected.layers]
        refused = [ref for (ref, _), facts in found.items() if not isinstance(facts, ImageFacts)]
    assert len(wanted) > 20
    assert [type(found[ref, "linux/amd64"]) for ref in refused] == [Unauthenticated] * len(refused)
    assert 0 < len(refused) < 4
    assert {key for key, facts in again.items() if facts == found[key]} >= {
        key for key in found if key[0] not in refused
    }


def test_every_passing_fault_of_the_cloud_is_got_over(tmp_path: Path) -> None:
    with Sandbox(Settings("stale")) as sandbox:
        env = env_of(sandbox, tmp_path)
        calm = view_of(sandbox, env)
        faults: tuple[dict[str, Any], ...] = (
            {"status": 503},
            {"status": 500},
            {"status": 429, "retry_after_s": 0},
            {"kind": "reset"},
            {"kind": "truncate"},
        )
        for fault in faults:
            sandbox.world.faults.rules[:] = [
                Fault.from_dict({"service": service, "times": 2, **fault}) for service in ("gke", "compute")
            ]
            assert view_of(sandbox, env) == calm, fault
