from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml

from kubectl_imagecache.core.class_roll import MARK
from kubectl_imagecache.core.compute_class import exactly
from kubectl_imagecache.sandbox.embedded import Sandbox
from tests.cli.conftest import Program
from tests.cli.test_roll import begin, killed_at, run
from tests.usecases.class_stage import CACHE, NAME, class_note, class_stage, class_state, compute_class, rule
from tests.usecases.roll_stage import NEW, OLD, settings

CLASS = ("--compute-class", NAME)
ROLL = (*CLASS, "--disk-image", NEW.name, "--yes")
HARMLESS = {"pods": 3, "cordoned": 0, "marks": 0}
ROLLED = {"class": [[NEW.name]], "nodes": [NEW.name], **HARMLESS}
AS_IT_WAS = {"class": [[OLD.name]], "nodes": [OLD.name], **HARMLESS}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settings()) as running:
        class_stage(running)
        yield running


def apply(sandbox: Sandbox, manager: str, manifest: dict[str, Any]) -> None:
    path = f"apis/cloud.google.com/v1/computeclasses/{NAME}?fieldManager={manager}&force=true"
    headers = {"Content-Type": "application/apply-patch+yaml"}
    body = json.dumps(manifest).encode()
    with urlopen(Request(f"{sandbox.url('kube')}/{path}", body, headers, method="PATCH")) as answer:
        assert answer.status == 200


def test_a_class_gets_its_disk_image_and_its_nodes_are_replaced(sandbox: Sandbox, tmp_path: Path) -> None:
    assert class_state(sandbox) == AS_IT_WAS
    code, out, err = run(sandbox, tmp_path, *ROLL)
    assert (code, err) == (0, "")
    said = [line[10:] for line in out.splitlines() if line[2:3] == ":"]
    assert said[:2] == [f"allow {NEW.name} in the GCPResourceAllowlist", f"give ComputeClass {NAME} {NEW.name}"]
    assert said[-1] == f"ComputeClass {NAME} has {NEW.name}, and so have its nodes"
    assert class_state(sandbox) == ROLLED
    (found,) = sandbox.kube.objects("ComputeClass")
    assert found["spec"] == compute_class({**rule("n2", NEW.name), "storage": storage(NEW.name)})["spec"]
    assert [one["manager"] for one in found["metadata"]["managedFields"]] == ["kubectl-imagecache"]


def test_a_disk_image_for_other_machines_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.cloud.add_image({"name": NEW.name, "diskSizeGb": "10", "architecture": "ARM64"})
    code, out, _ = run(sandbox, tmp_path, *ROLL)
    assert code == 5
    assert "the disk image is for arm64, the pool's machines are amd64" in out
    assert class_state(sandbox) == AS_IT_WAS


def storage(disk: str) -> dict[str, Any]:
    cache = {"diskImageName": disk, "project": "sandbox-project", "mode": CACHE}
    return {"bootDiskSize": 100, "secondaryBootDisks": [cache]}


def test_a_dry_run_of_a_class_changes_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.world.calls.clear()
    code, out, err = run(sandbox, tmp_path, *CLASS, "--disk-image", NEW.name, "--dry-run")
    assert (code, err) == (0, "")
    assert "1 of 1 rules of models get cache-2\n        rule 1: cache-1 -> cache-2\n" in out
    assert "no GCPResourceAllowlist allows cache-2: one will be written" in out
    assert {call.method for call in sandbox.world.calls} == {"GET"}


def test_rules_that_another_manager_keeps_are_taken_only_when_asked(sandbox: Sandbox, tmp_path: Path) -> None:
    apply(sandbox, "argocd-controller", compute_class())
    code, out, err = run(sandbox, tmp_path, *ROLL)
    assert (code, err) == (5, "refused: field-manager\n")
    assert "argocd-controller keeps the rules of models\n" in out
    assert "--emit computeclass" in out
    assert class_state(sandbox) == AS_IT_WAS
    assert run(sandbox, tmp_path, *ROLL, "--force-conflicts")[0] == 0
    assert class_state(sandbox) == ROLLED


def test_what_is_emitted_is_what_a_git_repository_applies_and_the_roll_then_only_replaces_nodes(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    apply(sandbox, "argocd-controller", compute_class())
    code, out, err = run(sandbox, tmp_path, *CLASS, "--disk-image", NEW.name, "--emit", "computeclass")
    assert (code, err) == (0, "")
    manifest, allowlist = yaml.safe_load_all(out)
    apply(sandbox, "argocd-controller", manifest)
    sandbox.kube.create(allowlist)
    code, out, err = run(sandbox, tmp_path, *ROLL)
    assert (code, err) == (0, "")
    assert class_state(sandbox) == ROLLED
    owners = sandbox.kube.objects("ComputeClass")[0]["metadata"]["managedFields"]
    assert [one["manager"] for one in owners if "f:spec" in one["fieldsV1"]] == ["argocd-controller"]


def test_a_class_whose_note_is_lost_keeps_its_rules(sandbox: Sandbox, tmp_path: Path) -> None:
    assert run(sandbox, tmp_path, *ROLL)[0] == 0
    headers = {"Content-Type": "application/merge-patch+json"}
    body = json.dumps({"metadata": {"annotations": {MARK: None}}}).encode()
    path = f"{sandbox.url('kube')}/apis/cloud.google.com/v1/computeclasses/{NAME}?fieldManager=kubectl-annotate"
    with urlopen(Request(path, body, headers, method="PATCH")) as answer:
        assert answer.status == 200
    assert run(sandbox, tmp_path, *ROLL)[0] == 0
    assert class_state(sandbox) == ROLLED


def test_a_roll_of_a_class_comes_back_from_half_way(sandbox: Sandbox, tmp_path: Path) -> None:
    process = begin(sandbox, tmp_path, *ROLL)
    assert process.stdout is not None
    for line in process.stdout:
        if "evict" in line:
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "error: stopped between two steps of the roll of ComputeClass models: nothing is half done\n" in err
    code, out, _ = run(sandbox, tmp_path, *CLASS, "--status")
    assert (code, out.splitlines()[3]) == (0, "direction:  forward")
    code, out, err = run(sandbox, tmp_path, *CLASS, "--rollback", "--yes")
    assert (code, err) == (0, "")
    assert f"{NAME} the cache disk that it had" in out
    assert class_state(sandbox) == AS_IT_WAS
    code, _, err = run(sandbox, tmp_path, *CLASS, "--yes")
    assert (code, err.splitlines()[0]) == (5, "error: no roll of ComputeClass models is under way")


@pytest.mark.parametrize("back", [False, True], ids=["forward", "back"])
def test_killed_at_every_request_in_turn_a_second_run_of_a_class_ends_the_same(tmp_path: Path, back: bool) -> None:
    # All of them take minutes: ROLL_KILL_STRIDE=1, and once more with ROLL_KILL_PERFORMED=1 for the other half of each.
    performed = bool(os.environ.get("ROLL_KILL_PERFORMED"))
    stride = int(os.environ.get("ROLL_KILL_STRIDE", "45"))
    number, killed = 1, 0
    arguments, end = ((*CLASS, "--rollback", "--yes"), AS_IT_WAS) if back else (ROLL, ROLLED)
    while True:
        with Sandbox(settings()) as sandbox:
            class_stage(sandbox, replicas=1)
            if back:
                assert run(sandbox, tmp_path, *ROLL)[0] == 0
            if not killed_at(sandbox, tmp_path, number, performed, *arguments):
                break
            killed += 1
            assert (number, class_state(sandbox)) == (number, {**end, "pods": 1})
            note = {"to": [OLD.name if back else NEW.name], "back": back, "allowed": [exactly(NEW)]}
            assert (number, class_note(sandbox)) == (number, note)
        number, performed = number + stride, not performed
    assert killed >= 1


def test_the_roll_of_an_auto_created_pool_points_to_its_class(sandbox: Sandbox, tmp_path: Path) -> None:
    node = next(node for node in sandbox.kube.objects("Node") if "nap" in node["metadata"]["name"])
    pool = node["metadata"]["labels"]["cloud.google.com/gke-nodepool"]
    code, out, err = run(sandbox, tmp_path, pool, "--disk-image", NEW.name, "--yes")
    assert (code, err) == (5, "refused: auto-provisioned\n")
    assert "        roll --compute-class models instead\n" in out


def test_a_class_that_makes_no_nodes_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    apply(sandbox, "kubectl", compute_class({"nodepools": ["web"]}, creates=False))
    code, out, err = run(sandbox, tmp_path, *ROLL, "--force-conflicts")
    assert (code, err) == (5, "refused: rules, auto-creation\n")
    assert "        roll web\n" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("web", *ROLL), "name either a node pool or, with --compute-class, a ComputeClass"),
        (("web", "--yes", "--force-conflicts"), "--force-conflicts is for ComputeClasses"),
        ((*ROLL, "--emit", "gcloud"), "a ComputeClass can be printed as a ComputeClass alone"),
    ],
)
def test_flags_that_mean_nothing_for_what_is_rolled_are_refused(
    sandbox: Sandbox, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, _, err = run(sandbox, tmp_path, *arguments)
    assert (code, words in err) == (2, True)


def test_a_class_that_is_not_there_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    code, _, err = run(sandbox, tmp_path, "--compute-class", "none", "--disk-image", NEW.name, "--yes")
    assert (code, err.splitlines()[0]) == (1, "error: there is no ComputeClass none")


def test_a_roll_of_a_class_can_be_watched_on_a_sandbox(program: Program) -> None:
    found = program.imagecache(
        "roll", "--compute-class", "models", "--disk-image", "models-2026-01", "--sandbox=classes"
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines()[-1].endswith("ComputeClass models has models-2026-01, and so have its nodes")


def test_classes_that_nodes_belong_to_are_completed(sandbox: Sandbox, program: Program) -> None:
    found = program.run("kubectl_complete-imagecache", "roll", "--compute-class", "", env=sandbox.env())
    assert found.stdout.splitlines()[0] == "models"
