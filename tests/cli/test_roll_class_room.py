from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubectl_imagecache.core.compute_class import CLASS_LABEL
from kubectl_imagecache.sandbox.embedded import Sandbox
from tests.cli.test_roll import run
from tests.usecases.class_stage import NAME, claimed, class_stage, compute_class, rule, volume
from tests.usecases.roll_stage import NEW, OLD, controller, settings

CHECK = ("--compute-class", NAME, "--disk-image", NEW.name, "--dry-run")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settings()) as running:
        yield running


def lines_of(out: str, name: str) -> list[str]:
    """The result and the text of the check NAME, and its details."""
    lines = iter(out.splitlines())
    found = next(line for line in lines if line.split()[1:2] == [f"{name}:"])
    details = []
    for line in lines:
        if not line.startswith("        "):
            break
        details.append(line.strip())
    return [" ".join(found.split()), *details]


@pytest.mark.parametrize(
    ("limit", "code", "told"),
    [
        (8, 0, ["ok quota: the region's quotas have room for 3 new nodes like the old ones"]),
        (
            7,
            0,
            [
                "warn quota: there is no quota for all new nodes at once: "
                "pods wait until the autoscaler has taken old ones away",
                "INSTANCES: 5 of 7 used, 3 needed",
            ],
        ),
        (
            5,
            5,
            [
                "refuse quota: there is no quota for even the 1 new nodes that --max-unavailable needs at one time",
                "INSTANCES: 5 of 5 used, 3 needed",
            ],
        ),
    ],
)
def test_the_quota_of_a_class_is_looked_at_for_all_its_nodes_and_for_those_emptied_at_one_time(
    sandbox: Sandbox, tmp_path: Path, limit: int, code: int, told: list[str]
) -> None:
    class_stage(sandbox)
    sandbox.cloud.state.quotas["INSTANCES"] = limit
    found, out, _ = run(sandbox, tmp_path, *CHECK)
    assert (found, lines_of(out, "quota")) == (code, told)


def test_a_refusal_for_want_of_quota_can_be_overruled(sandbox: Sandbox, tmp_path: Path) -> None:
    class_stage(sandbox)
    sandbox.cloud.state.quotas["INSTANCES"] = 5
    assert run(sandbox, tmp_path, *CHECK)[2] == "refused: quota (overrule with --allow quota)\n"
    code, out, _ = run(sandbox, tmp_path, *CHECK, "--allow", "quota")
    assert (code, lines_of(out, "quota")[0].split()[0]) == (0, "warn")


@pytest.mark.parametrize(
    ("zones", "code", "told"),
    [
        ([], 0, ["ok volumes: 1 persistent volumes can follow their pods"]),
        (["europe-west4-c", "europe-west4-a"], 0, ["ok volumes: 1 persistent volumes can follow their pods"]),
        (
            ["europe-west4-a"],
            5,
            [
                "refuse volumes: 1 volumes are in zones that have none of the new nodes: their pods would stay Pending",
                "default/data: default/kept-",
            ],
        ),
    ],
)
def test_a_volume_must_be_in_a_zone_that_the_rules_of_the_class_reach(
    sandbox: Sandbox, tmp_path: Path, zones: list[str], code: int, told: list[str]
) -> None:
    where: dict[str, Any] = {"location": {"zones": zones}} if zones else {}
    class_stage(sandbox, replicas=1, found=compute_class(rule("n2", OLD.name) | where))
    kept = claimed(controller("Deployment", "kept", {CLASS_LABEL: NAME}, replicas=1), "data")
    sandbox.kube.create(kept)
    sandbox.kube.create(volume("data", "europe-west4-c"))
    sandbox.world.clock.advance(120)
    found, out, _ = run(sandbox, tmp_path, *CHECK)
    said = lines_of(out, "volumes")
    assert (found, said[0], len(said)) == (code, told[0], len(told))
    assert all(line.startswith(start) for line, start in zip(said, told, strict=True))


def test_what_the_autoscaler_alone_can_know_is_said_to_be_unknown(sandbox: Sandbox, tmp_path: Path) -> None:
    class_stage(sandbox, replicas=1)
    _, out, _ = run(sandbox, tmp_path, *CHECK)
    text = "what it alone finds out: which rule it takes, machines in stock, limits of its own, pod addresses"
    assert lines_of(out, "autoscaler") == [f"warn autoscaler: {text}"]
