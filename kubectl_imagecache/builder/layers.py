"""Brings one layer from its registry to its folder: fetched, hashed, unpacked and hashed again in one pass."""

from __future__ import annotations

import errno
import hashlib
import os
import queue
import shutil
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from kubectl_imagecache.builder.checksums import layer_md5, tree_sha256
from kubectl_imagecache.builder.decompress import decompress
from kubectl_imagecache.builder.failures import BAD_DIGEST, BAD_LAYER, DISK, NO_SPACE, BuildFailed
from kubectl_imagecache.builder.images import ImageLayer
from kubectl_imagecache.builder.registry import Registry
from kubectl_imagecache.builder.stream import ByteStream
from kubectl_imagecache.builder.tar import TarReader
from kubectl_imagecache.builder.untar import Unpacked, Untar

_AHEAD = 8  # pieces of at most 1 MiB between the two threads
_DIGEST_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class LayerTask:
    """One layer to bring."""

    layer: ImageLayer
    folder: str
    """`…/snapshots/<N>/fs`; made here."""
    base: bool
    """Whether no layer lies below it."""
    max_bytes: int
    max_entries: int
    checksums: bool


@dataclass(frozen=True, slots=True)
class LayerDone:
    """One layer brought."""

    chain_id: str
    md5: str
    """The layout's checksum; empty if none was wanted."""
    tree: str
    """`checksums.tree_sha256`; empty as long as `implied` directories wait for the layers below."""
    md5s: dict[bytes, bytes]
    """Of every file, by path; only for a tree that is still to be hashed."""
    implied: dict[str, bool]
    """For `parents.copy_up`."""
    unpacked: int
    """Bytes of its files."""
    entries: int


def bring(task: LayerTask, registry: Registry, on_bytes: Callable[[int], None]) -> LayerDone:
    """Do TASK; ON_BYTES hears the compressed bytes so far. Raises BuildFailed."""
    attempt = 1
    while True:
        try:
            unpacked = _unpack(task, registry, on_bytes)
            break
        except BuildFailed as failure:
            # A blob damaged on its way is worth one more try; one that is wrong at the registry stays wrong.
            if failure.kind != BAD_DIGEST or attempt == _DIGEST_ATTEMPTS:
                raise
            attempt += 1
        except OSError as error:
            raise _disk_failure(error, task) from error
    implied = {os.fsdecode(path): given for path, given in unpacked.implied.items()} if not task.base else {}
    return LayerDone(
        task.layer.chain_id,
        layer_md5(unpacked.md5s.items()) if task.checksums else "",
        "" if implied else tree_sha256(task.folder, unpacked.md5s.get),
        unpacked.md5s if implied else {},
        implied,
        unpacked.size,
        unpacked.entries,
    )


def _unpack(task: LayerTask, registry: Registry, on_bytes: Callable[[int], None]) -> Unpacked:
    layer = task.layer
    _make_empty(Path(task.folder))
    fetched, plain = _hasher(layer.blob), _hasher(layer.diff_id)

    def fetch() -> Iterator[bytes]:
        done = 0
        for piece in registry.blob(layer.repository, layer.blob, layer.size):
            fetched.update(piece)
            done += len(piece)
            on_bytes(done)
            yield piece

    def hashed(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            plain.update(piece)
            yield piece

    blob = fetch()
    inflated = decompress(blob)
    ahead = _read_ahead(inflated)
    try:
        stream = ByteStream(hashed(ahead))
        unpacked = Untar(task.folder, task.base, task.max_bytes, task.max_entries).run(TarReader(stream))
        stream.drain()
    except BuildFailed as failure:
        ahead.close()
        inflated.close()
        if failure.kind == BAD_LAYER:
            # A bad archive, or one damaged on its way? Only the whole blob's digest tells.
            for _ in blob:
                pass
            _check(fetched, layer.blob, f"blob {layer.blob}")
        raise
    finally:
        ahead.close()
        inflated.close()
    _check(fetched, layer.blob, f"blob {layer.blob}")
    _check(plain, layer.diff_id, f"layer {layer.blob}, unpacked,")
    return unpacked


def _make_empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    # It is the root directory of containers: open to all, whatever this program's umask is.
    folder.chmod(0o755)


def _hasher(digest: str) -> hashlib._Hash:
    return hashlib.new(digest.partition(":")[0])


def _check(hasher: hashlib._Hash, digest: str, what: str) -> None:
    found = hasher.hexdigest()
    if found != digest.partition(":")[2]:
        raise BuildFailed(BAD_DIGEST, f"{what} should have the digest {digest} and has {hasher.name}:{found}")


def _disk_failure(error: OSError, task: LayerTask) -> BuildFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        room = os.statvfs(Path(task.folder).parent)
        if room.f_favail == 0:
            return BuildFailed(NO_SPACE, "the disk has no inodes left", "a larger disk has more of them")
        return BuildFailed(NO_SPACE, "the disk is full")
    return BuildFailed(DISK, f"writing a layer failed: {error.strerror}")


def _read_ahead(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    """PIECES, made by a second thread: inflating and writing each take about half of the time."""
    ready: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def put(item: bytes | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for piece in pieces:
                if not put(piece):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that reads
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
