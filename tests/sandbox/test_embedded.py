"""Every scenario starts and is what it says, seen by the real kubectl and the real gcloud."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import kubectl_imagecache
from kubectl_imagecache.clients.registry import Registry
from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import Contents, Layer
from kubectl_imagecache.core.errors import BadUsage, UserError
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.sandbox.clock import EPOCH
from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.scenarios import SCENARIOS, shelf

VERDICTS = {
    "stale": {"inference": "STALE", "web": "STALE", "batch": "STALE", "default-pool": "NONE"},
    "healthy": {"inference": "FRESH", "web": "FRESH", "batch": "FRESH"},
    "unknown": {"inference": "UNKNOWN", "web": "UNKNOWN", "batch": "UNKNOWN"},
    "mixed": {
        "llm": "FRESH",
        "embed": "STALE",
        "web-amd64": "FRESH",
        "web-arm64": "STALE",
        "spark": "UNKNOWN",
        "notebooks": "BROKEN",
        "trainer": "FRESH",
        "default-pool": "NONE",
    },
    "broken": {
        "image-gone": "BROKEN",
        "image-failed": "BROKEN",
        "image-obsolete": "BROKEN",
        "image-deprecated": "STALE",
        "image-recreated": "STALE",
        "no-mode": "BROKEN",
        "no-streaming": "BROKEN",
        "old-version": "BROKEN",
        "old-for-ubuntu": "BROKEN",
        "long-name": "FRESH",
        "half-labelled": "STALE",
        "wrong-arch": "BROKEN",
    },
    "empty": {"default-pool": "NONE"},
}
PENDING = {"stale": 4, "mixed": 1}
"""Pods without a node: there is no room, or the pool is scaled to zero."""
PROGRAM = "import sys; from kubectl_imagecache.cli.main import main; sys.exit(main())"


def _environment(home: Path) -> dict[str, str]:
    root = str(Path(kubectl_imagecache.__file__).parents[1])
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": root}


def _run(env: dict[str, str], *argv: str) -> str:
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _items(sandbox: Sandbox, home: Path, *what: str) -> list[dict[str, Any]]:
    text = _run({**_environment(home), **sandbox.env()}, "kubectl", "get", *what, "-o", "json")
    found: list[dict[str, Any]] = json.loads(text)["items"]
    return found


def _disk_images(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    path = "/compute/v1/projects/sandbox-project/global/images"
    with urllib.request.urlopen(sandbox.url("compute") + path, timeout=10) as answer:
        return {image["name"]: image for image in json.load(answer)["items"]}


def _pool_of(node: dict[str, Any]) -> str:
    return str(node["metadata"]["labels"]["cloud.google.com/gke-nodepool"])


def _everything(settings: Settings) -> dict[str, Any]:
    kinds = ("Node", "Pod", "Event", "Deployment", "DaemonSet", "CronJob", "PodDisruptionBudget", "Namespace")
    with Sandbox(settings) as sandbox:
        kube = {kind: sandbox.kube.objects(kind) for kind in kinds}
        cloud = json.loads(json.dumps(sandbox.cloud.state.collections))
        return {"kube": kube, "cloud": cloud, "images": list(sandbox.catalog.references())}


@pytest.mark.parametrize("name", VERDICTS)
def test_scenario_gets_the_verdicts_it_promises(name: str, tmp_path: Path) -> None:
    argv = (sys.executable, "-c", PROGRAM, "status", f"--sandbox={name}", "-o", "json")
    pools = json.loads(_run(_environment(tmp_path), *argv))["pools"]
    assert {pool["name"]: pool["state"] for pool in pools} == VERDICTS[name]


@pytest.mark.parametrize("name", VERDICTS)
def test_kubectl_sees_ready_nodes_and_running_pods(name: str, tmp_path: Path) -> None:
    with Sandbox(Settings(name)) as sandbox:
        nodes, pods = _items(sandbox, tmp_path, "nodes"), _items(sandbox, tmp_path, "pods", "-A")
    ready = [c["status"] for node in nodes for c in node["status"]["conditions"] if c["type"] == "Ready"]
    assert ready == ["True"] * len(nodes)
    assert {_pool_of(node) for node in nodes} == set(VERDICTS[name]) - {"trainer"}
    unbound = [pod for pod in pods if not pod["spec"].get("nodeName")]
    assert len(unbound) == PENDING.get(name, 0)
    bound = [pod for pod in pods if pod["spec"].get("nodeName")]
    assert {pod["status"]["phase"] for pod in bound} <= {"Running", "Succeeded"}
    assert all(status["imageID"] for pod in bound for status in pod["status"]["containerStatuses"])
    workloads = {pod["metadata"]["namespace"] for pod in pods} - {"kube-system"}
    assert bool(workloads) == (name != "empty")


def test_gcloud_sees_the_pools_and_disk_images(tmp_path: Path) -> None:
    with Sandbox(Settings("stale")) as sandbox:
        env = {**_environment(tmp_path), **sandbox.env()}
        where = ("--cluster", "stale", "--region", "europe-west4")
        pools = json.loads(_run(env, "gcloud", "container", "node-pools", "list", *where, "--format=json"))
        which = ("--no-standard-images", "--show-deprecated")
        images = json.loads(_run(env, "gcloud", "compute", "images", "list", *which, "--format=json"))
    assert {pool["name"] for pool in pools} == set(VERDICTS["stale"])
    assert {image["name"] for image in images} == {
        "inference-2025-12",
        "inference-2026-01",
        "web-2025-11",
        "web-2026-01",
        "batch-spark",
    }


def test_stale_scenario_shows_a_moved_tag_both_ways(tmp_path: Path) -> None:
    with Sandbox(Settings("stale")) as sandbox:
        pods = _items(sandbox, tmp_path, "pods", "-n", "serving")
        now = sandbox.catalog.cached(f"{shelf.VLLM}:prod", "amd64").digest
        before = sandbox.catalog.cached(f"{shelf.VLLM}:0.6.3", "amd64").digest
    seen = {
        pod["metadata"]["labels"]["app"]: status["imageID"].partition("@")[2]
        for pod in pods
        for status in pod["status"].get("containerStatuses") or ()
        if status["image"] == f"{shelf.VLLM}:prod" and status["imageID"]
    }
    assert seen == {"vllm-chat": before, "vllm-chat-canary": now}


def test_stale_scenario_has_what_makes_reading_a_cluster_hard(tmp_path: Path) -> None:
    with Sandbox(Settings("stale")) as sandbox:
        deployments = {d["metadata"]["name"]: d for d in _items(sandbox, tmp_path, "deployments", "-A")}
        (cron_job,) = _items(sandbox, tmp_path, "cronjobs", "-A")
        budgets = [b["metadata"]["name"] for b in _items(sandbox, tmp_path, "pdb", "-A")]
        labels = Counter(
            key.partition("/")[0]
            for node in _items(sandbox, tmp_path, "nodes")
            for key in node["metadata"]["labels"]
            if "secondary-boot-disk" in key
        )
    gateway = deployments["api-gateway"]["spec"]["template"]["spec"]
    assert [c["restartPolicy"] for c in gateway["initContainers"]] == ["Always"]
    assert deployments["notebook"]["spec"]["replicas"] == 0
    assert cron_job["spec"]["suspend"] is True
    assert budgets == ["vllm-chat", "api-gateway"]
    assert labels == {"cloud.google.com.node-restriction.kubernetes.io": 5, "cloud.google.com": 2}


def test_pulls_of_the_last_hour_are_told_in_events_and_older_ones_are_gone(tmp_path: Path) -> None:
    with Sandbox(Settings("stale")) as sandbox:
        events = _items(sandbox, tmp_path, "events", "-A", "--field-selector", "reason=Pulled")
    times = [datetime.fromisoformat(event["lastTimestamp"].replace("Z", "+00:00")) for event in events]
    assert all(EPOCH - timedelta(hours=1) <= at <= EPOCH for at in times)
    pulled = {m[1] for e in events if (m := re.match(r'Successfully pulled image "(.*?)" in \d', e["message"]))}
    assert pulled >= {f"{shelf.VLLM}:prod", f"{shelf.RERANKER}:2.1.0", f"{shelf.ETL}:4.3.0"}


def test_record_of_a_disk_image_tells_what_is_really_on_it() -> None:
    with Sandbox(Settings("healthy")) as sandbox:
        images = _disk_images(sandbox)
        assert set(images) == {"inference-2026-01", "web-2026-01", "batch-2026-01"}
        for name, image in images.items():
            contents = record.unpack(image["description"])
            assert isinstance(contents, Contents)
            arch = image["labels"]["imagecache-arch"]
            layers = {
                layer.chain_id
                for cached in contents.images
                for layer in sandbox.catalog.facts(str(cached.ref), arch).layers
            }
            assert layers == sandbox.cloud.contents(f"projects/sandbox-project/global/images/{name}")


def test_registries_answer_this_programs_client_with_the_sandboxs_credentials(tmp_path: Path) -> None:
    wanted = (f"{shelf.VLLM}:prod", f"{shelf.ENVOY}:v1.31.2", f"{shelf.TRITON}:24.10-py3", f"{shelf.PLUGINS}:0.9.4")
    with Sandbox(Settings("empty")) as sandbox:
        registry = Registry.from_env({**_environment(tmp_path), **sandbox.env()})
        found = registry.facts_many((parse(ref), "linux/amd64") for ref in wanted)
        expected = {ref: sandbox.catalog.facts(ref, "amd64") for ref in wanted[:3]}
    denied = found.pop((parse(wanted[3]), "linux/amd64"))
    assert isinstance(denied, UserError)
    for (ref, _), facts in found.items():
        assert not isinstance(facts, UserError)
        assert facts.digests == expected[str(ref)].digests
        known = tuple(Layer(layer.chain_id, layer.compressed) for layer in expected[str(ref)].layers)
        assert tuple(Layer(layer.chain_id, layer.compressed) for layer in facts.layers) == known


@pytest.mark.parametrize("name", ["stale", "mixed"])
def test_one_seed_gives_one_sandbox(name: str) -> None:
    assert _everything(Settings(name, seed=5)) == _everything(Settings(name, seed=5))


def test_another_seed_gives_other_digests_names_and_pull_times() -> None:
    one, other = _everything(Settings("healthy", seed=1)), _everything(Settings("healthy", seed=2))
    assert {image[:2] for image in one["images"]} == {image[:2] for image in other["images"]}
    assert all(a != b for a, b in zip(one["images"], other["images"], strict=True))
    assert one["kube"]["Event"] != other["kube"]["Event"]


def test_huge_scenario_has_the_size_asked_for(tmp_path: Path) -> None:
    with Sandbox(Settings("huge", nodes=23, pods=510)) as sandbox:
        nodes, pods = _items(sandbox, tmp_path, "nodes"), _items(sandbox, tmp_path, "pods", "-A")
        deployments = _items(sandbox, tmp_path, "deployments", "-A")
        with urllib.request.urlopen(f"{sandbox.url('kube')}/api/v1/pods?limit=1", timeout=10) as answer:
            page = answer.read()
    assert (len(nodes), len(pods)) == (23, 510)
    assert {_pool_of(node) for node in nodes} == {f"pool-{number:02}" for number in range(10)}
    assert {pod["spec"]["nodeName"] for pod in pods} == {node["metadata"]["name"] for node in nodes}
    assert {pod["metadata"]["ownerReferences"][0]["kind"] for pod in pods} == {"ReplicaSet"}
    assert sum(deployment["status"]["readyReplicas"] for deployment in deployments) == 510
    # As large as real ones, which managed fields, probes and environment make of 6 to 12 kB.
    assert 6_000 < len(page) < 12_000


def test_private_folder_is_gone_afterwards_and_holds_no_secret() -> None:
    with Sandbox(Settings("empty")) as sandbox:
        kubeconfig = Path(sandbox.env()["KUBECONFIG"])
        assert kubeconfig.parent.stat().st_mode & 0o777 == 0o700
        assert kubeconfig.stat().st_mode & 0o777 == 0o600
        config = json.loads(kubeconfig.read_text())
        assert config["current-context"] == "gke_sandbox-project_europe-west4_empty"
        assert config["users"] == [{"name": config["current-context"], "user": {}}]
    assert not kubeconfig.parent.exists()


def test_unknown_scenario_is_refused_with_what_there_is() -> None:
    with pytest.raises(BadUsage, match="no sandbox scenario 'hale'") as raised:
        Sandbox(Settings("hale"))
    assert raised.value.hint == f"there are {', '.join(SCENARIOS)}"
