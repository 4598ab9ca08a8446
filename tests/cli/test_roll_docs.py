from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kubectl_imagecache.sandbox.cloud.cloud import Cloud
from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.sandbox.http import Call
from tests.cli.test_roll import ROLL, run
from tests.usecases.roll_stage import settings, stage

TEXT = (Path(__file__).parents[2] / "docs" / "roll.md").read_text(encoding="utf-8")
KUBE = re.compile(r"/apis?/(?:(?P<group>[a-z0-9.]+\.k8s\.io|apps|batch|policy)/)?v1/(?P<rest>[^?]+)")
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


def documented() -> set[tuple[str, str, str]]:
    role = yaml.safe_load(re.findall(r"```yaml\n(.+?)```", TEXT, re.DOTALL)[0])
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_documented_cluster_role_allows_what_a_roll_asks_and_little_more(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox, pinned=True)
    sandbox.world.calls.clear()
    assert run(sandbox, tmp_path, *ROLL, "--repin")[0] == 0
    asked = {needed(call) for call in sandbox.world.calls if call.service == "kube"}
    unused = {("apps", "statefulsets", "patch"), ("apps", "daemonsets", "patch"), ("batch", "cronjobs", "patch")}
    assert asked == documented() - unused


def permissions(cloud: Cloud) -> set[str]:
    """Every permission that the sandbox's clouds know."""
    from kubectl_imagecache.sandbox.cloud import cloud as room

    return {p for name in vars(room) for p in routes_of(getattr(room, name))} | cloud.state.denied


def routes_of(thing: object) -> set[str]:
    routes = getattr(thing, "ROUTES", None)
    return {route.permission for route in routes.routes if route.permission} if routes is not None else set()


def test_the_documented_permissions_are_all_that_a_roll_needs(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    listed = set(re.findall(r"`((?:container|compute)\.\w+\.\w+)`", TEXT))
    known = permissions(sandbox.cloud)
    assert listed <= known
    sandbox.cloud.deny(*(known - listed))
    code, out, err = run(sandbox, tmp_path, *ROLL)
    assert (code, err) == (0, ""), out
    assert "could not be read" not in out


def test_the_manners_of_a_kubectl_drain_stay_a_roll_s_own_business(sandbox: Sandbox, tmp_path: Path) -> None:
    """kubectl, as a judge: the nodes that a stopped roll leaves are cordoned, and none is after a rollback."""
    stage(sandbox)
    kubectl = ["kubectl", "--kubeconfig", sandbox.env()["KUBECONFIG"], "get", "nodes", "--no-headers"]
    code, _, err = run(sandbox, tmp_path, *ROLL, "--keep-old")
    assert (code, err) == (0, "")
    assert subprocess.run(kubectl, capture_output=True, text=True, check=True).stdout.count("SchedulingDisabled") == 2
    assert run(sandbox, tmp_path, "web", "--rollback", "--yes")[0] == 0
    assert "SchedulingDisabled" not in subprocess.run(kubectl, capture_output=True, text=True, check=True).stdout
