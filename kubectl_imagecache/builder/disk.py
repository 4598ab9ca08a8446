"""Formats, mounts, unmounts and checks the cache disk's file system."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kubectl_imagecache.builder.failures import DISK, BuildFailed, printable
from kubectl_imagecache.builder.job import Target

_OPTIONS = "noatime,noinit_itable"
_CLEAN = 0
# ext4's superblock begins at byte 1024; s_magic is 56 bytes into it (kernel.org, ext4 disk layout).
_MAGIC_AT, _MAGIC = 1024 + 56, b"\x53\xef"


@contextmanager
def writable(target: Target) -> Iterator[str]:
    """The empty root of TARGET's file system; a device is formatted before, and unmounted and checked after.

    Raises BuildFailed(DISK).
    """
    if target.folder:
        _refuse_if_used(target.folder)
        yield target.folder
        _run("sync", "-f", target.folder)
        return
    # No reserved blocks, as nobody writes to it later. The inode tables are left for who needs them: zeroing
    # them would write 2 % of the disk for nothing.
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,discard", target.device)
    # What images hold is never run, opened as a device or obeyed as setuid here.
    with _mounted(target.device, f"rw,nodev,nosuid,noexec,{_OPTIONS}") as folder:
        yield folder
    check(target.device)


@contextmanager
def readable(target: Target) -> Iterator[str]:
    """The root of TARGET's file system for reading; a device (or its first partition) is mounted read-only."""
    if target.folder:
        yield target.folder
        return
    # noload: a journal is not replayed, so that not one byte of somebody's disk changes.
    with _mounted(_file_system_on(target.device), "ro,noload,nodev,nosuid,noexec") as folder:
        yield folder


@contextmanager
def flushing(folder: str) -> Iterator[Callable[[], None]]:
    """A function that starts to write out what was written below FOLDER, and returns at once.

    The kernel would begin after 30 s, or when a tenth of the memory is dirty (vm.dirty_*, kernel.org): most of a
    build would wait for its end.
    """
    under_way: list[subprocess.Popen[bytes]] = []

    def flush() -> None:
        if not under_way or under_way[-1].poll() is not None:
            under_way[:] = [subprocess.Popen(["sync", "-f", folder], stdin=subprocess.DEVNULL)]

    try:
        yield flush
    finally:
        for process in under_way:
            process.wait()  # it holds FOLDER open, and a busy disk can't be unmounted


def check(device: str) -> None:
    """Run e2fsck over DEVICE (or its first partition), mending nothing; raises BuildFailed(DISK) if it isn't clean."""
    _run("e2fsck", "-f", "-n", _file_system_on(device))


def ext4_on(device: str) -> str:
    """Where DEVICE's ext4 is, on itself or on its first partition; empty if there is none. Raises BuildFailed(DISK)."""
    for place in dict.fromkeys((_file_system_on(device), device)):
        try:
            with Path(place).open("rb", buffering=0) as file:
                file.seek(_MAGIC_AT)
                if file.read(2) == _MAGIC:
                    return place
        except OSError as error:
            raise BuildFailed(DISK, f"{place} can't be read: {error.strerror}") from error
    return ""


def total_bytes(folder: str) -> int:
    """The size of the file system under FOLDER."""
    room = os.statvfs(folder)
    return room.f_blocks * room.f_frsize


def free_bytes(folder: str) -> int:
    """What may still be written under FOLDER."""
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


def _file_system_on(device: str) -> str:
    """DEVICE, or its first partition if it has any: Google's builder may leave either."""
    # /dev/loop1 has /dev/loop1p1, and /dev/loop11 is another disk.
    bare = f"{device}p1" if device[-1].isdigit() else f"{device}1"
    for partition in (f"{device}-part1", bare):
        if Path(partition).is_block_device():
            return partition
    return device


def _refuse_if_used(folder: str) -> None:
    found = sorted(entry.name for entry in Path(folder).iterdir() if entry.name != "lost+found")
    if found:
        raise BuildFailed(DISK, f"{folder} is not empty: it has {printable(found[0], limit=60)}")


@contextmanager
def _mounted(device: str, options: str) -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="imagecache-")
    try:
        _run("mount", "-t", "ext4", "-o", options, device, folder)
        try:
            yield folder
        except BaseException:
            subprocess.run(["umount", folder], check=False, capture_output=True)
            raise
        # A busy disk is a failure, never something to look away from: the image would be taken dirty.
        _run("umount", folder)
    finally:
        # Only ever an empty folder: if the disk is still mounted there, nothing on it may be removed.
        with suppress(OSError):
            Path(folder).rmdir()


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise BuildFailed(DISK, f"{command[0]} can't be run: {error.strerror}") from error
    if done.returncode != _CLEAN:
        words = printable((done.stderr or done.stdout).decode(errors="replace"), limit=200)
        raise BuildFailed(DISK, f"{command[0]} failed on {command[-1]}: {words}")
