"""Gives directories that no archive entry described the looks of the same directory in the layers below."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from functools import partial

from kubectl_imagecache.builder.inside import resolve


def copy_up(folder: str, implied: Mapping[str, bool], below: Iterable[str]) -> None:
    """Dress the IMPLIED directories of FOLDER like those in the layers BELOW it (folders, nearest first).

    As in containerd, one whose own entry came later (True) only gets extended attributes that it lacks.
    """
    lower = [os.fsencode(path) for path in below]
    top = os.fsencode(folder)
    for name in sorted(implied, key=len):
        path = os.fsencode(name)
        for layer in lower:
            source = layer + b"/" + resolve(path, partial(_link, layer))
            try:
                status = os.lstat(source)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(status.st_mode):
                _dress(top + b"/" + path, source, status, keep=implied[name])
            break


def _link(layer: bytes, path: bytes) -> bytes | None:
    try:
        return os.readlink(layer + b"/" + path)  # noqa: PTH115 - a path of bytes
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise


def _dress(path: bytes, source: bytes, status: os.stat_result, keep: bool) -> None:
    kept = os.lstat(path)
    if not keep:
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
        os.chmod(path, stat.S_IMODE(status.st_mode))  # noqa: PTH101 - a path of bytes
    for name in os.listxattr(source, follow_symlinks=False):
        if name.startswith("trusted."):
            continue  # overlayfs' own marks hold for their own layer
        try:
            value = os.getxattr(source, name, follow_symlinks=False)
            os.setxattr(path, name, value, os.XATTR_CREATE, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.EOPNOTSUPP, errno.ENODATA):
                raise
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
