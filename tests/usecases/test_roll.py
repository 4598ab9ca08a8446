from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_imagecache.core.roll import Done, Evict, RollEvent, RollPlan
from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.usecases.roll import Stopped, roll
from kubectl_imagecache.usecases.roll_lock import Locked
from tests.usecases.roll_stage import NEW, OLD, SCALING, settings, stage, state_of, tools

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
