"""Decompresses layer blobs while they stream in: gzip of any number of members, zstd, or plain."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import zlib
from collections.abc import Generator, Iterable, Iterator

from kubectl_imagecache.builder.failures import BAD_LAYER, NO_TOOL, BuildFailed

_PIECE = 1024 * 1024
_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"


def has_zstd() -> bool:
    """Whether this machine can decompress zstd."""
    return shutil.which("zstd") is not None


def decompress(blob: Iterable[bytes]) -> Generator[bytes, None, None]:
    """The unpacked bytes of BLOB, in pieces of at most 1 MiB; the kind is told by its first bytes, as containerd does.

    Raises BuildFailed(BAD_LAYER) if it is damaged and BuildFailed(NO_TOOL) if it is zstd and there is no zstd here.
    """
    pieces = iter(blob)
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= 4:
            break
    whole = _rejoin(head, pieces)
    if head.startswith(_GZIP):
        return _gunzip(whole)
    if head.startswith(_ZSTD) or (head[1:4] == _ZSTD_SKIPPABLE and head[0] & 0xF0 == 0x50):
        return _unzstd(whole)
    return whole


def _rejoin(head: bytes, rest: Iterator[bytes]) -> Generator[bytes, None, None]:
    if head:
        yield head
    for piece in rest:  # noqa: UP028 - closing this generator must leave REST open
        yield piece


def _gunzip(blob: Iterator[bytes]) -> Generator[bytes, None, None]:
    inflate = zlib.decompressobj(wbits=31)
    fed = False
    for piece in blob:
        data = piece
        while data:
            if inflate.eof:
                inflate = zlib.decompressobj(wbits=31)
            try:
                # Bounded, so that a bomb never becomes one huge object in memory.
                unpacked = inflate.decompress(data, _PIECE)
            except zlib.error as error:
                raise BuildFailed(BAD_LAYER, f"the layer's gzip data is damaged ({error})") from error
            fed = True
            if unpacked:
                yield unpacked
            data = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
    if fed and not inflate.eof:
        while unpacked := inflate.decompress(b"", _PIECE):
            yield unpacked
        if not inflate.eof:
            raise BuildFailed(BAD_LAYER, "the layer's gzip data is cut short")


def _unzstd(blob: Iterator[bytes]) -> Generator[bytes, None, None]:
    tool = shutil.which("zstd")
    if tool is None:
        raise BuildFailed(NO_TOOL, "a layer is compressed with zstd, and this machine has no zstd program")
    process = subprocess.Popen(
        [tool, "-dcq", "--long=31"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin and process.stdout and process.stderr
    problems: list[BaseException] = []

    def feed() -> None:
        assert process.stdin
        try:
            for piece in blob:
                process.stdin.write(piece)
        except BrokenPipeError:
            pass  # zstd's own words and exit status tell why
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that reads
            problems.append(error)
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        while piece := process.stdout.read(_PIECE):
            yield piece
        feeder.join()
        if problems:
            raise problems[0]
        words = process.stderr.read().decode(errors="replace").strip()
        if process.wait() != 0:
            raise BuildFailed(BAD_LAYER, f"the layer's zstd data is damaged ({words[:120]})")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        feeder.join()
        for pipe in (process.stdout, process.stderr):
            pipe.close()
