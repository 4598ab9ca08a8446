from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kubectl_imagecache.core.compute_class import CLASS_LABEL
from kubectl_imagecache.core.permissions import permissions_of
from kubectl_imagecache.sandbox.cloud.cloud import Cloud
from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.http import Call
from tests.cli.test_roll import ROLL, run
from tests.usecases.class_stage import NAME, claimed, class_stage
from tests.usecases.roll_stage import BIG, NEW, controller, settings, stage

DOCS = Path(__file__).parents[2] / "docs"
KUBE = re.compile(r"/apis?/(?:(?P<group>[a-z0-9.]+\.(?:k8s\.io|com|io)|apps|batch|policy)/)?v1/(?P<rest>[^?]+)")
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settings()) as running:
        yield running


def needed(call: Call) -> tuple[str, str, str]:
    """The API group, resource and verb of a call to Kubernetes."""
    match = KUBE.fullmatch(call.target.partition("?")[0])
    assert match is not None, call
    parts = match["rest"].split("/")
    if parts[0] == "namespaces" and len(parts) > 2:
        parts = parts[2:]
    resource = "/".join([parts[0], *parts[2:]])
    read = "watch" if "watch=1" in call.target else "get" if len(parts) > 1 else "list"
    verb = VERBS.get(call.method, read)
    return match["group"] or "", resource, verb


def documented(name: str) -> set[tuple[str, str, str]]:
    role = yaml.safe_load((DOCS / "rbac" / f"{name}.yaml").read_text(encoding="utf-8"))
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_documented_cluster_role_allows_what_a_roll_asks_and_little_more(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox, pinned=True, cached=[BIG])
    sandbox.kube.create(claimed(controller("Deployment", "kept", {"role": "web"}, replicas=1), "data"))
    sandbox.world.clock.advance(60)
    sandbox.world.calls.clear()
    flags = ("--repin", "--canary", BIG)
    assert run(sandbox, tmp_path, *ROLL, *flags)[0] == 0
    asked = {needed(call) for call in sandbox.world.calls if call.service == "kube"}
    unused = {("apps", "statefulsets", "patch"), ("apps", "daemonsets", "patch"), ("batch", "cronjobs", "patch")}
    assert asked == documented("roll") - unused


def test_the_documented_cluster_role_allows_what_the_roll_of_a_class_asks_and_little_more(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    class_stage(sandbox, replicas=1)
    sandbox.kube.create(claimed(controller("Deployment", "kept", {CLASS_LABEL: NAME}, replicas=1), "data"))
    sandbox.world.clock.advance(120)
    sandbox.world.calls.clear()
    assert run(sandbox, tmp_path, "--compute-class", NAME, "--disk-image", NEW.name, "--yes")[0] == 0
    asked = {needed(call) for call in sandbox.world.calls if call.service == "kube"}
    # Repinning is a pool's roll's; an apply of what is not there yet needs `create`, which no path shows.
    unused = {("apps", kind, "patch") for kind in ("deployments", "statefulsets", "daemonsets")}
    unused |= {("batch", "cronjobs", "patch"), ("node.gke.io", "gcpresourceallowlists", "create")}
    unused |= {("", "pods", "delete")}  # --force-after
    assert asked == documented("roll-class") - unused


def test_the_documented_cluster_role_allows_what_reading_asks_and_nothing_more(tmp_path: Path) -> None:
    with Sandbox(Settings("stale")) as sandbox:
        sandbox.world.calls.clear()
        for arguments in (("status", "--include-templates"), ("pulls", "--watch", str(tmp_path / "w"), "--for", "1s")):
            command = [sys.executable, "-m", "kubectl_imagecache", *arguments]
            env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **sandbox.env()}
            assert subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0
        asked = {needed(call) for call in sandbox.world.calls if call.service == "kube"}
    assert asked == documented("viewer")


def permissions(cloud: Cloud) -> set[str]:
    """Every permission that the sandbox's clouds know."""
    from kubectl_imagecache.sandbox.cloud import cloud as room

    return {p for name in vars(room) for p in routes_of(getattr(room, name))} | cloud.state.denied


def routes_of(thing: object) -> set[str]:
    routes = getattr(thing, "ROUTES", None)
    return {route.permission for route in routes.routes if route.permission} if routes is not None else set()


def listed(heading: str) -> set[str]:
    """The permissions of GKE and Compute in a table of docs/permissions.md."""
    text = (DOCS / "permissions.md").read_text(encoding="utf-8").partition(f"## Google Cloud: {heading}\n")[2]
    assert text
    return set(re.findall(r"`((?:container|compute)\.\w+\.\w+)`", text.partition("\n## ")[0]))


def deny_all_but(cloud: Cloud, allowed: set[str]) -> None:
    known = permissions(cloud)
    assert allowed <= known
    cloud.deny(*(known - allowed))


def test_the_documented_permissions_are_all_that_a_roll_needs(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    deny_all_but(sandbox.cloud, listed("roll POOL"))
    code, out, err = run(sandbox, tmp_path, *ROLL, "--strategy", "rolling")
    assert (code, err) == (0, ""), out
    assert "could not be read" not in out


def test_the_documented_permissions_are_all_that_the_roll_of_a_class_needs(sandbox: Sandbox, tmp_path: Path) -> None:
    class_stage(sandbox, replicas=1)
    deny_all_but(sandbox.cloud, listed("roll --compute-class"))
    code, out, err = run(sandbox, tmp_path, "--compute-class", NAME, "--disk-image", NEW.name, "--yes")
    assert (code, err) == (0, ""), out
    assert "could not be read" not in out


def test_the_documented_permissions_are_all_that_status_needs(tmp_path: Path) -> None:
    with Sandbox(Settings("stale")) as sandbox:
        deny_all_but(sandbox.cloud, set(permissions_of("status, list, diff")))
        command = [sys.executable, "-m", "kubectl_imagecache", "status", "-o", "json"]
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **sandbox.env()}
        answer = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout)["gaps"] == []


def test_the_manners_of_a_kubectl_drain_stay_a_roll_s_own_business(sandbox: Sandbox, tmp_path: Path) -> None:
    """kubectl, as a judge: the nodes that a stopped roll leaves are cordoned, and none is after a rollback."""
    stage(sandbox)
    kubectl = ["kubectl", "--kubeconfig", sandbox.env()["KUBECONFIG"], "get", "nodes", "--no-headers"]
    code, _, err = run(sandbox, tmp_path, *ROLL, "--keep-old")
    assert (code, err) == (0, "")
    assert subprocess.run(kubectl, capture_output=True, text=True, check=True).stdout.count("SchedulingDisabled") == 2
    assert run(sandbox, tmp_path, "web", "--rollback", "--yes")[0] == 0
    assert "SchedulingDisabled" not in subprocess.run(kubectl, capture_output=True, text=True, check=True).stdout
