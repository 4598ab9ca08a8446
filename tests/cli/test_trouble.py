from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.sandbox.faults import Fault
from tests.cli.conftest import Program

EVIL = "evil\x1b[2J\u202e"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def order(sandbox: Sandbox, **fault: object) -> None:
    with sandbox.world.lock:
        sandbox.world.faults.rules.append(Fault.from_dict({"times": -1, **fault}))


def states(text: str) -> dict[str, str]:
    return {pool["name"]: pool["state"] for pool in json.loads(text)["pools"]}


def test_without_compute_the_pools_are_unknown_and_a_warning_says_what_to_ask_for(
    program: Program, sandbox: Sandbox
) -> None:
    order(sandbox, status=403, service="compute")
    found = program.imagecache("status", "-o", "json", "--exit-code", **sandbox.env())
    assert found.returncode == 4
    assert set(states(found.stdout).values()) == {"UNKNOWN", "NONE"}
    assert all(line.startswith("warning: ") for line in found.stderr.splitlines())
    assert "compute.images.get" in found.stderr and "role" in found.stderr
    assert [gap["what"] for gap in json.loads(found.stdout)["gaps"]]


def test_without_gke_node_labels_still_tell_the_pools(program: Program, sandbox: Sandbox) -> None:
    whole = program.imagecache("status", "-o", "json", **sandbox.env())
    order(sandbox, status=403, service="gke")
    found = program.imagecache("status", "-o", "json", **sandbox.env())
    assert found.returncode == 0
    assert set(states(found.stdout)) == set(states(whole.stdout))
    assert {pool["knownFrom"] for pool in json.loads(found.stdout)["pools"]} == {"nodes"}
    assert "warning: GKE node pools not read: " in found.stderr


def test_without_events_estimates_say_that_they_are_estimates(program: Program, sandbox: Sandbox) -> None:
    order(sandbox, status=403, service="kube", path="/events")
    found = program.imagecache("status", "-o", "json", **sandbox.env())
    colds = [pool["coldStart"] for pool in json.loads(found.stdout)["pools"]]
    assert {cold["basis"] for cold in colds if cold} == {"estimated"}
    assert "list events" in found.stderr


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 401, "service": "kube"}, "error: "),
        ({"status": 403, "service": "kube"}, "error: not permitted: list "),
        ({"kind": "truncate", "service": "kube"}, "error: "),
        ({"kind": "reset", "service": "kube"}, "error: "),
    ],
    ids=lambda value: str(value.get("kind") or value["status"]) if isinstance(value, dict) else "",
)
def test_an_api_server_in_trouble_is_one_line(
    program: Program, sandbox: Sandbox, fault: dict[str, object], words: str
) -> None:
    order(sandbox, **fault)
    found = program.imagecache("status", **sandbox.env())
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith(words)
    assert len(found.stderr.splitlines()) <= 2 and "Traceback" not in found.stderr


@pytest.mark.parametrize(
    "output",
    ["table", "wide", "csv", "markdown", "name", "json", "yaml", "custom-columns=A:.name", "jsonpath={.pools}"],
)
def test_hostile_names_never_reach_the_terminal(
    program: Program, sandbox: Sandbox, tmp_path: Path, output: str
) -> None:
    """A real API server refuses such names; a file or a hostile server does not."""
    saved = tmp_path / "bundle"
    assert program.imagecache("status", "--save", str(saved), **sandbox.env()).returncode == 0
    nodes = json.loads((saved / "nodes.json").read_text())
    for item in nodes["items"]:
        item["metadata"]["labels"]["cloud.google.com/gke-nodepool"] = EVIL
    (saved / "nodes.json").write_text(json.dumps(nodes))
    found = program.imagecache("status", "--from", str(saved), "-o", output)
    assert found.returncode == 0, found.stderr
    assert "evil" in found.stdout
    assert all(line.isprintable() for line in (found.stdout + found.stderr).split("\n"))


def test_hostile_words_on_the_command_line_come_back_harmless(program: Program, sandbox: Sandbox) -> None:
    found = program.imagecache("status", EVIL, **sandbox.env())
    assert found.returncode == 1
    assert all(line.isprintable() for line in found.stderr.split("\n"))


def test_completion_offers_the_pools_that_the_real_kubectl_sees(program: Program, sandbox: Sandbox) -> None:
    found = program.run("kubectl", "__complete", "imagecache", "status", "", env=sandbox.env())
    offered = found.stdout.splitlines()
    labels = program.run(
        "kubectl", "get", "nodes", "-o", r"jsonpath={.items[*].metadata.labels.cloud\.google\.com/gke-nodepool}",
        env=sandbox.env(),
    )  # fmt: skip
    assert offered == [*sorted(set(labels.stdout.split())), ":4"]


@pytest.mark.parametrize("template", ["{.items[*].kind}", '{range .items[*]}{.metadata.name}{"\\n"}{end}', "{..kind}"])
def test_our_jsonpath_prints_what_the_real_kubectl_prints(program: Program, sandbox: Sandbox, template: str) -> None:
    from kubectl_imagecache.render.jsonpath import render

    document = json.loads(program.run("kubectl", "get", "nodes", "-o", "json", env=sandbox.env()).stdout)
    kubectl = program.run("kubectl", "get", "nodes", "-o", f"jsonpath={template}", env=sandbox.env())
    ours, theirs = render(template, document), kubectl.stdout
    assert sorted(ours.split()) == sorted(theirs.split())
    if ".." not in template:
        assert ours == theirs
