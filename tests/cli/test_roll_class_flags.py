"""What each flag of `roll` does where a ComputeClass is rolled: something that shows, or a refusal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubectl_imagecache.cli.roll import OF_POOLS
from kubectl_imagecache.cli.roll import roll as roll_command
from kubectl_imagecache.core.compute_class import CLASS_LABEL
from kubectl_imagecache.sandbox.embedded import Sandbox
from tests.cli.test_roll import run
from tests.usecases.class_stage import NAME, class_stage, class_state
from tests.usecases.roll_stage import NEW, controller, settings

CLASS = ("--compute-class", NAME)
ROLL = (*CLASS, "--disk-image", NEW.name, "--yes")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settings()) as running:
        yield running


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is printed without any such flag."""
    with Sandbox(settings()) as running:
        class_stage(running, replicas=2)
        return "".join(run(running, tmp_path_factory.mktemp("home"), *ROLL)[1:])


@dataclass(frozen=True, slots=True)
class Effect:
    """What a flag does."""

    flags: tuple[str, ...]
    code: int
    says: str
    """A pattern of what is printed with it, and is not without."""
    spare: int = 1
    """Disruptions that the budget allows."""
    before: Callable[[Sandbox], None] = lambda sandbox: None
    """What is there, too."""


def deprecated(sandbox: Sandbox) -> None:
    image = {"name": NEW.name, "diskSizeGb": "10", "architecture": "X86_64", "deprecated": {"state": "DEPRECATED"}}
    sandbox.cloud.add_image(image)


def pinned(sandbox: Sandbox) -> None:
    disk = "cloud.google.com.node-restriction.kubernetes.io/gke-secondary-boot-disk-cache-1"
    select = {CLASS_LABEL: NAME, disk: "CONTAINER_IMAGE_CACHE.sandbox-project"}
    sandbox.kube.create(controller("Deployment", "pinned", select, replicas=1))
    with sandbox.world.lock:
        sandbox.world.clock.advance(300)


EFFECTS = {
    "dry_run": Effect(("--dry-run",), 0, r"\A(?!.*\d\d:\d\d:\d\d )"),
    "show": Effect(("--status",), 0, r"direction: +forward"),
    "max_unavailable": Effect(("--max-unavailable", "2"), 0, r"empty gke-\S+, gke-\S+\n"),
    "drain_timeout": Effect(("--drain-timeout", "10m"), 5, r"is not empty after 600 s", spare=0),
    "ready_timeout": Effect(("--ready-timeout", "1s"), 0, r"empty nodes are left to the autoscaler"),
    "gate": Effect(("--no-health-gate",), 0, r"\A(?!.*pods that moved are not Ready yet)"),
    "gate_timeout": Effect(("--gate-timeout", "5s"), 5, r"is still .* after 5 s"),
    "repin": Effect(("--repin",), 0, r"let Deployment default/pinned", before=pinned),
    "allow": Effect(("--allow", "disk-deprecated"), 0, r"warn +disk-deprecated", before=deprecated),
    "not_after": Effect(("--not-after", "2026-01-15T09:00:00Z"), 5, r"no step is begun after 2026-01-15T09:00:00"),
    "force_after": Effect(("--force-after", "5m"), 0, r"DELETE, past their budgets, default/front-", spare=0),
    "emit": Effect(("--emit", "computeclass"), 0, r"diskImageName: \"?cache-2"),
    "format_": Effect(("-o", "json"), 0, r'{"kind": ?"end"'),
}
ELSEWHERE = {
    *("disk_image", "compute_class", "rollback", "yes", "force_conflicts"),  # tests/cli/test_roll_class.py
    "debug",  # tests/cli/test_trouble.py
    "windows",  # Below.
}


def test_every_flag_has_an_effect_here_or_is_refused() -> None:
    own = {param.name for param in roll_command.params if getattr(param, "section", "") in ("What to do", "How")}
    assert own - ELSEWHERE == {*EFFECTS, *OF_POOLS} - {"emit", "format_"}


@pytest.mark.parametrize("name", EFFECTS)
def test_a_flag_that_a_class_has_does_what_it_says(sandbox: Sandbox, tmp_path: Path, plain: str, name: str) -> None:
    effect = EFFECTS[name]
    class_stage(sandbox, replicas=2, spare=effect.spare)
    effect.before(sandbox)
    code, out, err = run(sandbox, tmp_path, *ROLL, *effect.flags)
    assert (code, bool(re.search(effect.says, out + err, re.DOTALL))) == (effect.code, True), out + err
    assert not re.search(effect.says, plain, re.DOTALL)


@pytest.mark.parametrize(
    "flags",
    [
        ("--soak", "5m"),
        ("--keep-old",),
        ("--strategy", "blue-green"),
        ("--surge", "1"),
        ("--max-surge", "1"),
        ("--canary", "docker.io/library/redis:7"),
        ("--canary-limit", "5s"),
    ],
    ids=OF_POOLS,
)
def test_a_flag_of_pools_is_refused_and_nothing_is_done(
    sandbox: Sandbox, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    class_stage(sandbox, replicas=1)
    before = class_state(sandbox)
    code, _, err = run(sandbox, tmp_path, *ROLL, *flags)
    assert (code, err.splitlines()[0]) == (2, f"error: only the roll of a pool has {flags[0]}")
    assert class_state(sandbox) == before


def test_steps_of_a_class_are_begun_within_the_window_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    class_stage(sandbox, replicas=1)
    code, out, err = run(sandbox, tmp_path, *ROLL, "--maintenance-window", "10:00-12:00 UTC")
    assert (code, err) == (0, "")
    told = [line for line in out.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    steps = [line for line in told if "wait:" not in line]
    assert len(steps) > 4
    assert all(line.startswith("10:") for line in steps)
