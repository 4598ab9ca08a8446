"""Applies one layer's archive to its folder, as containerd's overlay snapshotter would leave it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass, field

from kubectl_imagecache.builder import tar
from kubectl_imagecache.builder.failures import BAD_LAYER, TOO_LARGE, BuildFailed, printable
from kubectl_imagecache.builder.inside import Folder, normal, resolve
from kubectl_imagecache.builder.tar import Entry, TarReader

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_HOLE = bytes(64 * 1024)
_MD5 = hashlib.md5(usedforsecurity=False)
"""Copied for each file: to copy one costs a third of what it costs to make one."""
_FLUSH_AT = 128 * 1024
_SMALL = 64 * 1024
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {tar.CHAR: stat.S_IFCHR, tar.BLOCK_DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}


@dataclass(slots=True)
class Unpacked:
    """What is known of a layer once its archive is applied."""

    md5s: dict[bytes, bytes] = field(default_factory=dict)
    """Path -> MD5 of every regular file, hard links under each of their names."""
    implied: dict[bytes, bool] = field(default_factory=dict)
    """Directories that an entry needed before (or without) being in the archive -> whether it came later."""
    size: int = 0
    """Bytes of all files."""
    entries: int = 0


class Untar:
    """One archive going into one empty folder. `base` layers have none below them, and so no whiteouts to keep."""

    def __init__(self, folder: str, base: bool, max_bytes: int, max_entries: int) -> None:
        self.unpacked = Unpacked()
        self._folder = Folder(folder)
        self._base = base
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._directories: set[bytes] = {b""}
        self._links: dict[bytes, bytes] = {}
        self._dated: list[Entry] = []
        self._linked_md5s: dict[int, bytes] = {}

    def run(self, reader: TarReader) -> Unpacked:
        """Apply every entry of READER; raises BuildFailed(BAD_LAYER, TOO_LARGE) and OSError (a full disk)."""
        old_mask = os.umask(0)
        try:
            while (entry := reader.next()) is not None:
                try:
                    self._apply(entry, reader)
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENOMEM):
                        raise
                    name = printable(os.fsdecode(entry.name).encode("utf-8", "replace").decode(), limit=120)
                    raise BuildFailed(
                        BAD_LAYER, f"the layer can't be unpacked at {name!r}: {error.strerror}"
                    ) from error
            self._date_directories()
            return self.unpacked
        finally:
            os.umask(old_mask)
            self._folder.close()

    def _apply(self, entry: Entry, reader: TarReader) -> None:
        if b"\0" in entry.name or b"\0" in entry.link:
            raise BuildFailed(BAD_LAYER, "the layer has a name with a NUL in it")
        self._count(entry)
        path = normal(entry.name)
        if not path:
            return  # the root keeps its own mode and owner, as in containerd
        parent, _, base = path.rpartition(b"/")
        if parent:
            parent = self._resolve(parent)
            self._ensure(parent)
            path = parent + b"/" + base if parent else base
        if base.startswith(_WHITEOUT):
            self._whiteout(entry, parent, base)
            return
        if path in self._directories and entry.type != tar.DIRECTORY:
            self._remove(path)
        self._create(entry, path, reader)
        if entry.type == tar.DIRECTORY:
            self._dated.append(entry)

    def _count(self, entry: Entry) -> None:
        self.unpacked.entries += 1
        self.unpacked.size += entry.size
        if self.unpacked.entries > self._max_entries:
            raise BuildFailed(TOO_LARGE, f"a layer has more than {self._max_entries} entries")
        if self.unpacked.size > self._max_bytes:
            message = f"a layer unpacks to more than {self._max_bytes} bytes"
            raise BuildFailed(TOO_LARGE, message, needed=self._max_bytes + 1)

    def _resolve(self, path: bytes) -> bytes:
        if path in self._directories or not self._links:
            return path
        return resolve(path, self._links.get)

    def _ensure(self, path: bytes) -> None:
        missing = []
        while path not in self._directories:
            missing.append(path)
            path = path.rpartition(b"/")[0]
        for path in reversed(missing):
            head, _, base = path.rpartition(b"/")
            os.mkdir(base, 0o755, dir_fd=self._folder.directory(head))
            os.chmod(base, 0o755, dir_fd=self._folder.directory(head))
            self._directories.add(path)
            self.unpacked.implied[path] = False

    def _whiteout(self, entry: Entry, parent: bytes, base: bytes) -> None:
        hidden = base[len(_WHITEOUT) :]
        if base == _OPAQUE:
            if not self._base:
                os.setxattr(self._folder.directory(parent), "trusted.overlay.opaque", b"y")
            else:
                self._clear_implied(parent)
            return
        if hidden in (b"", b".", b".."):
            raise BuildFailed(BAD_LAYER, f"the layer has the whiteout {os.fsdecode(base)!r}, which hides nothing")
        path = parent + b"/" + hidden if parent else hidden
        if self._base:
            self._remove(path)
            return
        # The kernel's overlayfs takes a 0/0 character device for "nothing here".
        fd = self._folder.directory(parent)
        os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=fd)
        os.chown(hidden, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
        os.utime(hidden, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=fd, follow_symlinks=False)

    def _clear_implied(self, parent: bytes) -> None:
        prefix = parent + b"/" if parent else b""
        for path, given in list(self.unpacked.implied.items()):
            if not given and path.startswith(prefix) and path in self.unpacked.implied:
                self._remove(path)

    def _create(self, entry: Entry, path: bytes, reader: TarReader) -> None:
        if entry.type == tar.REGULAR:
            self._file(entry, path, reader)
            return
        if entry.type == tar.GLOBAL_HEADER:
            self._remove(path)
            return
        head, _, base = path.rpartition(b"/")
        try:
            self._make(entry, path, base, self._folder.directory(head))
        except FileExistsError:
            self._remove(path)
            self._make(entry, path, base, self._folder.directory(head))
        self._dress(entry, path, base, self._folder.directory(head))

    def _make(self, entry: Entry, path: bytes, base: bytes, fd: int) -> None:
        if entry.type == tar.DIRECTORY:
            if path not in self._directories:
                os.mkdir(base, entry.mode, dir_fd=fd)
                self._directories.add(path)
            elif path in self.unpacked.implied:
                self.unpacked.implied[path] = True
        elif entry.type == tar.SYMLINK:
            os.symlink(entry.link, base, dir_fd=fd)
            self._links[path] = entry.link
        elif entry.type == tar.HARD_LINK:
            self._hard_link(entry, path, base)
        elif entry.type in _KINDS:
            os.mknod(base, _KINDS[entry.type] | entry.mode, os.makedev(entry.major, entry.minor), dir_fd=fd)
        else:
            raise BuildFailed(BAD_LAYER, f"the layer has an entry of the unknown type {entry.type!r}")

    def _hard_link(self, entry: Entry, path: bytes, base: bytes) -> None:
        target = normal(entry.link)
        head, _, name = target.rpartition(b"/")
        head = self._resolve(head) if head else head
        target = head + b"/" + name if head else name
        if path == target:
            # Whatever has a name is removed before it is made anew, so this link has no target left.
            self._remove(path)
        into = path.rpartition(b"/")[0]
        source = os.dup(self._folder.directory(head))
        try:
            here = self._folder.directory(into)
            os.link(name, base, src_dir_fd=source, dst_dir_fd=here, follow_symlinks=False)
            if (link := self._links.get(target)) is not None:
                self._links[path] = link
            elif (md5 := self.unpacked.md5s.get(target)) is not None:
                self.unpacked.md5s[path] = md5
        finally:
            os.close(source)

    def _dress(self, entry: Entry, path: bytes, base: bytes, fd: int) -> None:
        """Owner, attributes, mode and time, in the order that the kernel's side effects ask for."""
        os.chown(base, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
        if entry.xattrs:
            _set_xattrs(entry.xattrs, self._folder.by_name(path))
        if path not in self._links:
            os.chmod(base, entry.mode, dir_fd=fd)
        os.utime(base, ns=(entry.atime_ns, entry.mtime_ns), dir_fd=fd, follow_symlinks=False)

    def _file(self, entry: Entry, path: bytes, reader: TarReader) -> None:
        head, _, base = path.rpartition(b"/")
        directory = self._folder.directory(head)
        try:
            fd = os.open(base, _CREATE, entry.mode, dir_fd=directory)
        except FileExistsError:
            self._remove(path)
            fd = os.open(base, _CREATE, entry.mode, dir_fd=self._folder.directory(head))
        try:
            if entry.sparse is None:
                self.unpacked.md5s[path] = _write(fd, reader, entry.size)
            else:
                self.unpacked.md5s[path] = _write_sparse(fd, reader, entry)
            os.fchown(fd, entry.uid, entry.gid)
            if entry.xattrs:
                _set_xattrs(entry.xattrs, fd)
            os.fchmod(fd, entry.mode)
            os.utime(fd, ns=(entry.atime_ns, entry.mtime_ns))
            if entry.size >= _FLUSH_AT:
                # Starts the writing now, while the next file is inflated, instead of all at once at the end.
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)

    def _remove(self, path: bytes) -> None:
        """Remove what lies at PATH, with all below it; nothing there is fine."""
        head, _, base = path.rpartition(b"/")
        if path not in self._directories:
            try:
                os.unlink(base, dir_fd=self._folder.directory(head))
            except FileNotFoundError:
                return
            self._forget(path)
            return
        doomed = [path]
        for directory in doomed:
            fd = self._folder.directory(directory)
            for name in map(os.fsencode, os.listdir(fd)):  # noqa: PTH208 - by descriptor
                child = directory + b"/" + name
                if child in self._directories:
                    doomed.append(child)
                else:
                    os.unlink(name, dir_fd=fd)
                    self._forget(child)
        self._folder.close_directories()
        for directory in reversed(doomed):
            head, _, base = directory.rpartition(b"/")
            os.rmdir(base, dir_fd=self._folder.directory(head))
            self._folder.close_directories()
            self._directories.discard(directory)
            self._forget(directory)

    def _forget(self, path: bytes) -> None:
        self._links.pop(path, None)
        self.unpacked.md5s.pop(path, None)
        self.unpacked.implied.pop(path, None)

    def _date_directories(self) -> None:
        """Directories last: each file made in one had moved its time."""
        for path in self.unpacked.implied:
            self._date(path, 0, 0)
        os.utime(self._folder.root, ns=(0, 0))
        for entry in self._dated:
            # As in containerd the name is resolved anew: what replaced a directory since then gets its time.
            self._date(resolve(normal(entry.name), self._links.get), entry.atime_ns, entry.mtime_ns)

    def _date(self, path: bytes, atime_ns: int, mtime_ns: int) -> None:
        head, _, base = path.rpartition(b"/")
        try:
            fd = self._folder.directory(head)
            os.utime(base or b".", ns=(atime_ns, mtime_ns), dir_fd=fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return


def _write(fd: int, reader: TarReader, size: int) -> bytes:
    if size <= _SMALL:
        data = reader.whole()
        _write_all(fd, memoryview(data))
        md5 = _MD5.copy()
        md5.update(data)
        return md5.digest()
    md5 = _MD5.copy()
    hole = False
    for view in reader.body():
        md5.update(view)
        # Long runs of zeros become holes: the content is the same, the disk is written less.
        hole = len(view) >= len(_HOLE) and not view[0] and not view[-1] and not view.tobytes().strip(b"\0")
        if hole:
            os.lseek(fd, len(view), os.SEEK_CUR)
        else:
            _write_all(fd, view)
    if hole:
        os.ftruncate(fd, size)
    return md5.digest()


def _write_sparse(fd: int, reader: TarReader, entry: Entry) -> bytes:
    md5 = _MD5.copy()
    at = 0
    for offset, length in entry.sparse or ():
        _hash_zeros(md5, offset - at)
        os.lseek(fd, offset, os.SEEK_SET)
        for view in reader.stored(length):
            md5.update(view)
            _write_all(fd, view)
        at = offset + length
    _hash_zeros(md5, entry.size - at)
    os.ftruncate(fd, entry.size)
    return md5.digest()


def _write_all(fd: int, view: memoryview) -> None:
    while view:
        view = view[os.write(fd, view) :]


def _hash_zeros(md5: hashlib._Hash, count: int) -> None:
    while count > 0:
        md5.update(_HOLE if count >= len(_HOLE) else _HOLE[:count])
        count -= len(_HOLE)


def _set_xattrs(xattrs: dict[bytes, bytes], where: int | bytes) -> None:
    for name, value in xattrs.items():
        if name.startswith(b"trusted."):
            continue  # containerd takes none from an archive: they could forge an overlay's own marks
        try:
            if isinstance(where, int):
                os.setxattr(where, name, value)
            else:
                os.setxattr(where, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP or (error.errno == errno.EPERM and name.startswith(b"user.")):
                continue  # links and devices can't have user.* attributes
            if error.errno == errno.ENOSPC:
                raise BuildFailed(
                    BAD_LAYER, f"an extended attribute of {len(value)} bytes is too long for ext4"
                ) from error
            raise
