"""Names within one folder, resolved without ever leaving it, and the folder's own directories opened step by step."""

from __future__ import annotations

import os
from collections.abc import Callable

from kubectl_imagecache.builder.failures import BAD_LAYER, BuildFailed

_MAX_LINKS = 255
_MAX_PATH = 4096  # PATH_MAX: containerd can't unpack a longer one either
_KEEP_OPEN = 256
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def normal(name: bytes) -> bytes:
    """NAME relative to the root, without `.`, `..` and doubled slashes; empty is the root itself.

    `..` can't rise above the root: `../../etc` is `etc`.
    """
    return os.path.normpath(b"/" + name.lstrip(b"/"))[1:]


def resolve(path: bytes, link_at: Callable[[bytes], bytes | None]) -> bytes:
    """Follow symbolic links in PATH (normal form) as if the folder were the root of the file system.

    LINK_AT gives a symbolic link's target, None for anything else. Raises BuildFailed(BAD_LAYER) for a loop.
    """
    links = 0
    done = b""
    rest = path.split(b"/") if path else []
    rest.reverse()
    while rest:
        part = rest.pop()
        here = done + b"/" + part if done else part
        target = link_at(here)
        if target is None:
            done = here
            continue
        links += 1
        if links > _MAX_LINKS:
            raise BuildFailed(BAD_LAYER, "the layer has a loop of symbolic links")
        restart = normal(target if target.startswith(b"/") else done + b"/" + target)
        rest.extend(reversed(restart.split(b"/") if restart else []))
        done = b""
    return done


class Folder:
    """A folder that only this process writes to; its directories are reached by descriptors, never through a link."""

    def __init__(self, path: str) -> None:
        self.root = os.open(path, _DIRECTORY)
        self._open: dict[bytes, int] = {}

    def directory(self, path: bytes) -> int:
        """A descriptor of the directory PATH (normal form, links resolved), valid until the next call.

        Raises OSError if a component is missing, not a directory, or a symbolic link.
        """
        if not path:
            return self.root
        found = self._open.get(path)
        if found is not None:
            return found
        if len(path) > _MAX_PATH:
            raise BuildFailed(BAD_LAYER, f"the layer has a path of {len(path)} bytes")
        if len(self._open) >= _KEEP_OPEN:
            self.close_directories()
        opened = self._descend(path)
        self._open[path] = opened
        return opened

    def _descend(self, path: bytes) -> int:
        head, _, _ = path.rpartition(b"/")
        while head and head not in self._open:
            head = head.rpartition(b"/")[0]
        fd = self._open[head] if head else self.root
        borrowed = True
        for part in path[len(head) :].lstrip(b"/").split(b"/"):
            try:
                deeper = os.open(part, _DIRECTORY, dir_fd=fd)
            finally:
                if not borrowed:
                    os.close(fd)
            fd, borrowed = deeper, False
        return fd

    def by_name(self, path: bytes) -> bytes:
        """A path for the calls that take no descriptor; its last component is not followed by them."""
        head, _, base = path.rpartition(b"/")
        return b"/proc/self/fd/%d/%s" % (self.directory(head), base)

    def close_directories(self) -> None:
        """Let go of all directories; needed before one of them is removed."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def close(self) -> None:
        """Let go of everything."""
        self.close_directories()
        os.close(self.root)
