"""The checksums of an unpacked layer: the cache layout's MD5, and a SHA-256 of all that the MD5 leaves out."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator

_READ = 1024 * 1024
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOATIME


def layer_md5(files: Iterable[tuple[bytes, bytes]], quoted: bytes = b"\\\n\r") -> str:
    """The third column of `snapshots.metadata`, of (path, MD5) pairs.

    It is the MD5 of md5sum's first column, sorted; md5sum writes a backslash before the hash when the path
    holds a character of QUOTED (coreutils 9; before that the carriage return was not one).
    """
    lines = []
    for path, md5 in files:
        mark = "\\" if any(c in path for c in quoted) else ""
        lines.append(f"{mark}{md5.hex()}\n")
    lines.sort()
    return hashlib.md5("".join(lines).encode(), usedforsecurity=False).hexdigest()


def file_md5(path: bytes) -> bytes:
    """The MD5 of the file at PATH, read now."""
    md5 = hashlib.md5(usedforsecurity=False)
    fd = os.open(path, _READ_FLAGS)
    try:
        while piece := os.read(fd, _READ):
            md5.update(piece)
    finally:
        os.close(fd)
    return md5.digest()


def walk(folder: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Every path below FOLDER with its own status, directories before what is in them, sorted within each."""
    pending = [b""]
    while pending:
        directory = pending.pop()
        with os.scandir(folder + b"/" + directory if directory else folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        inner = []
        for entry in entries:
            path = directory + b"/" + entry.name if directory else entry.name
            status = entry.stat(follow_symlinks=False)
            yield path, status
            if stat.S_ISDIR(status.st_mode):
                inner.append(path)
        pending.extend(reversed(inner))


def tree_sha256(folder: str, md5_of: Callable[[bytes], bytes | None]) -> str:
    """A hash of FOLDER: names, types, modes, owners, times, links, devices, extended attributes, and contents.

    MD5_OF gives a file's MD5 by its path in the folder; where it has none the file is read.
    """
    root = os.fsencode(folder)
    sha256 = hashlib.sha256(_line(b"", root, os.lstat(root), b""))
    first_names: dict[int, bytes] = {}
    for path, status in walk(root):
        full = root + b"/" + path
        content = b""
        if stat.S_ISREG(status.st_mode):
            content = md5_of(path) or file_md5(full)
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(full)  # noqa: PTH115 - a path of bytes
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            content = b"%d" % status.st_rdev
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            content += b"\0link\0" + first_names.setdefault(status.st_ino, path)
        sha256.update(_line(path, full, status, content))
    return sha256.hexdigest()


def _line(path: bytes, full: bytes, status: os.stat_result, content: bytes) -> bytes:
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    head = b"%o %d %d %d %d" % (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, size)
    parts = [head, path, content]
    for name in sorted(os.listxattr(full, follow_symlinks=False)):
        parts += [os.fsencode(name), os.getxattr(full, name, follow_symlinks=False)]
    # Each part with its length: no two different trees give the same bytes.
    return b"".join(b"%d:%s" % (len(part), part) for part in parts) + b"\n"
