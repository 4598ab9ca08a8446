"""Says in what two unpacked layers differ, by its own reading of both folders."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

Facts = dict[str, object]


def look(folder: Path) -> dict[bytes, Facts]:
    """Every path of FOLDER (the root as an empty one) and all that can be told of it."""
    root = os.fsencode(folder)
    found = {b"": _facts(root)}
    names: dict[int, list[bytes]] = {}
    for directory, inner, files in os.walk(root):
        for name in [*inner, *files]:
            full = directory + b"/" + name
            path = os.path.relpath(full, root)
            found[path] = _facts(full)
            status = os.lstat(full)
            if not stat.S_ISDIR(status.st_mode):
                names.setdefault(status.st_ino, []).append(path)
    for group in names.values():
        for path in group:
            found[path]["links"] = sorted(group)
    return found


def differences(ours: Path, theirs: Path, undated: frozenset[bytes] | set[bytes] = frozenset()) -> list[str]:
    """One line a difference. Times that containerd takes from the clock are not compared: the root's, whiteouts',
    and those of UNDATED paths (directories that the archive does not describe)."""
    left, right = look(ours), look(theirs)
    lines = [f"only ours: {path!r}" for path in sorted(left.keys() - right.keys())]
    lines += [f"only theirs: {path!r}" for path in sorted(right.keys() - left.keys())]
    for path in sorted(left.keys() & right.keys()):
        a, b = left[path], right[path]
        whiteout = b["type"] == stat.S_IFCHR and b["device"] == 0
        for fact in sorted(a.keys() | b.keys()):
            if fact == "mtime" and (path == b"" or whiteout or path in undated):
                continue
            if a.get(fact) != b.get(fact):
                lines.append(f"{path!r}: {fact} {a.get(fact)!r}, theirs {b.get(fact)!r}")
    return lines


def _facts(path: bytes) -> Facts:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    facts: Facts = {
        "type": kind,
        "mode": stat.S_IMODE(status.st_mode),
        "owner": (status.st_uid, status.st_gid),
        "mtime": status.st_mtime_ns,
        "xattrs": {
            name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
        },
    }
    if kind != stat.S_IFDIR:
        facts["nlink"] = status.st_nlink
        facts["size"] = status.st_size
    if kind == stat.S_IFREG:
        facts["sha256"] = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest()
    if kind == stat.S_IFLNK:
        facts["target"] = str(Path(os.fsdecode(path)).readlink())
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        facts["device"] = status.st_rdev
    return facts
