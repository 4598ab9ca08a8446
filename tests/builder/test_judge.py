"""The judge itself: it must see each kind of difference, or its verdicts are worth nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builder import judge, machines


def tree(folder: Path) -> Path:
    (folder / "d").mkdir(parents=True)
    (folder / "d/f").write_bytes(b"same size")
    os.link(folder / "d/f", folder / "d/g")
    (folder / "d/h").write_bytes(b"same size")
    (folder / "l").symlink_to("d")
    os.mknod(folder / "dev", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (1, 1), follow_symlinks=False)
    return folder


def redo(change: Callable[[], object], path: Path) -> None:
    """CHANGE, and the time of PATH as it was."""
    change()
    os.utime(path, (1, 1), follow_symlinks=False)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda d: redo(lambda: (d / "d/h").write_bytes(b"SAME SIZE"), d / "d/h"),
    "mode": lambda d: (d / "d/h").chmod(0o6755),
    "owner": lambda d: os.chown(d / "l", 1, 2, follow_symlinks=False),
    "mtime": lambda d: os.utime(d / "d/h", ns=(1, 1_000_000_001)),
    "xattr": lambda d: os.setxattr(d / "d", "trusted.overlay.opaque", b"y"),
    "missing": lambda d: (d / "l").unlink(),
    "more": lambda d: (d / "more").touch(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_sees(tmp_path: Path, change: Callable[[Path], object]) -> None:
    machines.need()
    ours, theirs = tree(tmp_path / "ours"), tree(tmp_path / "theirs")
    assert judge.differences(ours, theirs) == []
    change(theirs)
    assert len(judge.differences(ours, theirs)) == 1


def test_it_sees_broken_and_other_hard_links(tmp_path: Path) -> None:
    machines.need()
    ours, theirs = tree(tmp_path / "ours"), tree(tmp_path / "theirs")
    (theirs / "d/g").unlink()
    os.link(theirs / "d/h", theirs / "d/g")
    os.utime(theirs / "d", (1, 1))
    assert any("links" in line for line in judge.differences(ours, theirs))


def test_it_sees_other_devices_and_targets(tmp_path: Path) -> None:
    machines.need()
    ours, theirs = tree(tmp_path / "ours"), tree(tmp_path / "theirs")
    (theirs / "dev").unlink()
    os.mknod(theirs / "dev", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    (theirs / "l").unlink()
    (theirs / "l").symlink_to("e")
    for name in ("dev", "l"):
        os.utime(theirs / name, (1, 1), follow_symlinks=False)
    os.utime(theirs, (1, 1))
    assert [line.split(":")[0] for line in judge.differences(ours, theirs)] == ["b'dev'", "b'l'"]
