from __future__ import annotations

import pytest

from tests.cli.conftest import Program

MODEL = "europe-west4-docker.pkg.dev/acme-ai/serving/model-server:1.0"


@pytest.mark.parametrize(
    "command",
    [
        "list --sandbox",
        "diff --sandbox",
        "rebuild web --sandbox --dry-run",
        "verify web-2025-11 --sandbox",
        "inspect google-built --sandbox=unknown",
        "disks list --sandbox",
        "disks gc --sandbox",
        "disks describe web-2025-11 --sandbox",
        "pulls --sandbox=pulls",
        f"bench --sandbox=bench --pool plain --pool cached --image {MODEL} --dry-run",
        "sandbox list",
    ],
)
def test_no_line_is_wider_than_the_terminal(program: Program, command: str) -> None:
    found = program.imagecache(*command.split(), COLUMNS="80")
    assert found.returncode == 0, found.stderr
    assert [line for line in found.stdout.splitlines() if len(line) > 80] == []


def test_a_checklist_wraps_its_sentences_beneath_themselves(program: Program) -> None:
    found = program.imagecache("roll", "web", "--disk-image", "web-2026-01", "--sandbox", "--dry-run", COLUMNS="80")
    checks = [line for line in found.stdout.splitlines() if not line.startswith(" " * 8) or line.startswith(" " * 33)]
    assert (found.returncode, [line for line in checks if len(line) > 80]) == (5, [])
    assert f"\n{' ' * 33}web or its disk\n" in found.stdout
