"""Each command runs with just the permissions that docs/iam.md lists for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kubectl_imagecache.core.permissions import BESIDES, BUILD, COMMANDS, READ, permissions_of, text
from kubectl_imagecache.sandbox.cloud import cloud as room
from kubectl_imagecache.sandbox.cloud.resources import label
from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from tests.cli.conftest import Program
from tests.cli.test_rebuild import NAMED

PAGE = Path(__file__).parents[2] / "docs" / "iam.md"
BLOCK = re.compile(r"(<!-- commands -->\n)(.*?)(<!-- /commands -->)", re.DOTALL)


def test_the_page_says_what_the_program_says(pytestconfig: pytest.Config) -> None:
    page = PAGE.read_text(encoding="utf-8")
    if pytestconfig.getoption("--regold"):
        PAGE.write_text(BLOCK.sub(lambda found: found[1] + text() + found[3], page), encoding="utf-8")
        page = PAGE.read_text(encoding="utf-8")
    found = BLOCK.search(page)
    assert found is not None and found[2] == text()


def test_a_build_is_asked_for_before_it_is_begun() -> None:
    assert set(BUILD.permissions) <= permissions_of("rebuild --image")
    assert set(READ.permissions) <= permissions_of("inspect, verify")


def known() -> set[str]:
    """Every permission that the sandbox's cloud asks for anywhere."""
    routes = [getattr(part, "ROUTES", None) for part in vars(room).values()]
    return {route.permission for found in routes if found is not None for route in found.routes} - {""}


def add_old(sandbox: Sandbox) -> None:
    """A disk image of ours that nothing needs: one to deprecate, and one whose grace is over."""
    labels = {"imagecache-build": "imagecache-0123456789ab"}
    stamped = labels | {"imagecache-deprecated": "1760000000"}
    made = "2025-11-0{}T01:00:00.000-08:00"
    sandbox.cloud.add_image({"name": "web-a", "family": "web", "labels": labels, "creationTimestamp": made.format(2)})
    sandbox.cloud.add_image(
        {
            "name": "web-b",
            "family": "web",
            "labels": stamped,
            "creationTimestamp": made.format(1),
            "deprecated": {"state": "DEPRECATED"},
        }
    )


def add_left(sandbox: Sandbox) -> None:
    """What a build has left: a disk and an unfinished disk image."""
    labels = {"imagecache-build": "imagecache-0123456789ab"}
    sandbox.cloud.add_image({"name": "half", "status": "PENDING", "labels": labels})


def unrecorded(sandbox: Sandbox) -> None:
    """A disk image that has lost its record."""
    path = "projects/sandbox-project/global/images/web-2025-11"
    image = sandbox.cloud.state.find(path)
    assert image is not None
    image.update(description="")
    label(image, None)


def nothing(sandbox: Sandbox) -> None:
    """The scenario as it is."""


RUNS: list[tuple[str, tuple[str, ...], Callable[[Sandbox], None], str]] = [
    ("status, list, diff", ("status", "-o", "name"), nothing, ""),
    ("rebuild POOL", ("rebuild", "web", "--yes", "-q", "-o", "name"), nothing, "diskimage/web-"),
    ("rebuild --image", ("rebuild", *NAMED, "--family", "f", "--yes", "-q", "-o", "name"), nothing, "diskimage/f-"),
    ("rebuild --abort, disks sweep", ("disks", "sweep", "--older-than", "0s", "--yes"), add_left, "half"),
    ("inspect, verify", ("verify", "web-2025-11", "--yes"), nothing, "Nothing is wrong with"),
    ("inspect --adopt", ("inspect", "web-2025-11", "--adopt", "--yes"), unrecorded, "The disk image has no record."),
    ("disks list", ("disks", "list"), add_left, "half"),
    ("disks describe", ("disks", "describe", "web-2025-11"), nothing, "node pool stale/web"),
    ("disks gc", ("disks", "gc", "--keep", "1"), add_old, "web-a"),
    ("disks gc --yes", ("disks", "gc", "--keep", "1", "--yes"), add_old, "web-a"),
]


@pytest.mark.parametrize(("command", "args", "prepare", "shows"), RUNS, ids=lambda v: v if isinstance(v, str) else "")
def test_a_command_needs_what_is_listed_and_nothing_else(
    program: Program, command: str, args: tuple[str, ...], prepare: Callable[[Sandbox], None], shows: str
) -> None:
    optional = {permission for permission, _, _ in BESIDES} - {"iam.serviceAccounts.actAs"}
    with Sandbox(Settings(scenario="stale", speed=120.0)) as sandbox:
        with sandbox.world.lock:
            prepare(sandbox)
        sandbox.cloud.deny(*(known() - permissions_of(command)), *optional)
        sandbox.cloud.state.asked.clear()
        found = program.imagecache(*args, **sandbox.env())
        assert found.returncode == 0, found.stderr
        assert shows in found.stdout
        assert "not permitted" not in "".join(
            line for line in found.stderr.splitlines(True) if "not checked beforehand" not in line
        )
        listed = permissions_of(command) - {"compute.subnetworks.use"}  # asked of Compute's own checks alone
        never = listed - sandbox.cloud.state.asked
        assert never <= LEFT_OUT.get(command, set()), f"listed for {command}, and never needed: {sorted(never)}"


LEFT_OUT = {
    # What Compute checks beside the call's own permission, and what only another turn of events needs.
    "rebuild POOL": {
        "compute.disks.create",
        "compute.disks.setLabels",
        "compute.disks.useReadOnly",
        "compute.images.setLabels",
        "compute.instances.setMetadata",
        "compute.subnetworks.get",
    },
    "rebuild --abort, disks sweep": {"compute.disks.delete", "compute.instances.delete"},
}
LEFT_OUT["inspect, verify"] = LEFT_OUT["inspect --adopt"] = {
    "compute.disks.create",
    "compute.disks.setLabels",
    "compute.images.useReadOnly",
    "compute.instances.setLabels",
    "compute.instances.setMetadata",
}
LEFT_OUT["rebuild --image"] = LEFT_OUT["rebuild POOL"]


def test_every_command_of_the_page_is_run() -> None:
    assert [run[0] for run in RUNS] == list(COMMANDS)
