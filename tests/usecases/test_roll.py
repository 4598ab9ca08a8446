from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_imagecache.core.roll import Done, RollEvent, RollPlan
from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.usecases.roll import Stopped, roll
from tests.usecases.roll_stage import NEW, OLD, SCALING, budget, controller, settings, stage, state_of, tools

ROLLED = {"pools": {"web-r2": ("RUNNING", SCALING, str(NEW))}, "pods": {"web-r2": 3}, "cordoned": []}
AS_IT_WAS = {"pools": {"web": ("RUNNING", SCALING, str(OLD))}, "pods": {"web": 3}, "cordoned": []}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settings()) as running:
        yield running


def test_a_pool_moves_to_its_new_disk_image(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    events: list[RollEvent] = []
    done = roll(tools(sandbox, events, tmp_path), RollPlan("web", NEW))
    assert done == Done("web is replaced by web-r2")
    assert state_of(sandbox) == ROLLED


def test_a_pool_comes_back_from_where_the_roll_stopped(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    sandbox.kube.create(controller("Deployment", "stuck", {"role": "web"}, replicas=1))
    sandbox.kube.create(budget("stuck", 1))
    sandbox.world.clock.advance(300)
    events: list[RollEvent] = []
    mine = tools(sandbox, events, tmp_path)
    with pytest.raises(Stopped, match="is not empty after 600 s: default/stuck-"):
        roll(mine, RollPlan("web", NEW, drain_timeout_s=600))
    assert state_of(sandbox)["pools"]["web"] == ("RUNNING", {}, str(OLD))
    assert roll(mine, RollPlan("web", back=True)) == Done("web is as it was", back=True)
    assert state_of(sandbox) == {**AS_IT_WAS, "pods": {"web": 4}}
    assert all("kubectl-imagecache" not in str(node["metadata"]) for node in sandbox.kube.objects("Node"))
