"""Recordings of what pulls are told from: JSON lines, written as it comes and read again later.

The first line says what the file is; each further line is one record, its `kind` Event, Node, Pod or Layers, times in
epoch seconds. The same event may be there more than once: the one with the greatest count holds. A line that broke off
at the end of the file (the writer was killed) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import msgspec

from kubectl_imagecache.core.errors import BadAnswer, NotFound, UserError
from kubectl_imagecache.core.pull_records import EventRecord, LayersRecord, NodeRecord, PodRecord, Record
from kubectl_imagecache.core.uncollected import uncollected
from kubectl_imagecache.core.views import Gap

KIND = "PullRecording"
API_VERSION = "imagecache/v1"
MAX_LINE = 1_000_000
"""Characters of the longest line that is read."""
_KINDS: dict[str, type[EventRecord | NodeRecord | PodRecord | LayersRecord]] = {
    "Event": EventRecord,
    "Node": NodeRecord,
    "Pod": PodRecord,
    "Layers": LayersRecord,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class Head(msgspec.Struct, rename="camel", omit_defaults=False):
    """The first line."""

    kind: str
    api_version: str
    cluster: str = ""
    context: str = ""
    began: float = 0.0
    """Epoch seconds."""


class _Kind(msgspec.Struct):
    kind: str


class Recorder:
    """Appends records to a file, each written through at once: nothing is lost when the program is killed."""

    def __init__(self, path: Path, head: Head) -> None:
        """Open PATH; one that exists must be a recording of the same cluster. Raises UserError, BadAnswer."""
        try:
            fresh = not path.exists() or path.stat().st_size == 0
            if not fresh:
                _check_head(path, head)
            self._file: IO[bytes] = path.open("ab")
            if fresh:
                self._write({"kind": KIND, "apiVersion": API_VERSION, **_camel(head)})
            else:
                _end_line(path, self._file)
        except OSError as error:
            raise UserError(f"can't write the recording {path}: {error.strerror}") from error

    def add(self, record: Record) -> None:
        """Append RECORD. Raises UserError if the file can't be written."""
        try:
            self._write({"kind": _NAMES[type(record)], **asdict(record)})
        except OSError as error:
            raise UserError(f"can't write the recording: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, content: dict[str, Any]) -> None:
        self._file.write(msgspec.json.encode(content) + b"\n")
        self._file.flush()


def read(path: Path, add: Callable[[Record], object]) -> tuple[Head, list[Gap]]:
    """Feed each record of the recording PATH to ADD.

    Raises NotFound, and BadAnswer with the line for a file that isn't a recording or a line that can't be read.
    """
    decoders = {name: msgspec.json.Decoder(kind) for name, kind in _KINDS.items()}
    kind_of = msgspec.json.Decoder(_Kind)
    head: Head | None = None
    gaps: list[Gap] = []
    with uncollected():
        for number, line, whole in _lines(path):
            try:
                if head is None:
                    head = _head(line, path)
                    continue
                kind = kind_of.decode(line).kind
                if kind in decoders:
                    add(decoders[kind].decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                if whole:
                    raise BadAnswer(f"{path}, line {number}: not a record of pulls: {error}") from error
                gaps.append(Gap(f"the last line of {path}", "it breaks off: the recording was ended by force"))
    if head is None:
        raise BadAnswer(f"{path} is empty, not a recording of pulls", "kubectl imagecache pulls --watch FILE makes one")
    return head, gaps


def _lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Number, line, and whether the line is ended."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) >= MAX_LINE:
                    raise BadAnswer(f"{path}, line {number}: longer than any record")
                if line.strip():
                    yield number, line, line.endswith(b"\n")
    except FileNotFoundError as error:
        raise NotFound(f"no such recording: {path}", "kubectl imagecache pulls --watch FILE makes one") from error
    except OSError as error:
        raise UserError(f"can't read the recording {path}: {error.strerror}") from error


def _head(line: bytes, path: Path) -> Head:
    hint = "kubectl imagecache pulls --watch FILE makes a recording"
    try:
        head = msgspec.json.decode(line, type=Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"{path}, line 1: not the head of a recording of pulls", hint) from error
    if head.kind != KIND:
        raise BadAnswer(f"{path}, line 1: a {head.kind[:60]!r}, not a recording of pulls", hint)
    if head.api_version != API_VERSION:
        raise BadAnswer(
            f"{path} is a recording of another version: {head.api_version[:60]!r}", f"this is {API_VERSION}"
        )
    return head


def _check_head(path: Path, head: Head) -> None:
    for _, line, _ in _lines(path):
        found = _head(line, path)
        if found.cluster != head.cluster:
            raise UserError(f"{path} is a recording of another cluster: {found.cluster}", "name another file")
        return
    raise BadAnswer(f"{path} is not a recording of pulls", "name another file")


def _end_line(path: Path, file: IO[bytes]) -> None:
    """Cut off a last line that broke off, so that what is appended stands on its own."""
    with path.open("rb+") as there:
        size = there.seek(0, 2)
        start = max(0, size - MAX_LINE)
        there.seek(start)
        tail = there.read()
        if tail and not tail.endswith(b"\n"):
            there.truncate(start + tail.rfind(b"\n") + 1)
    file.seek(0, 2)


def _camel(head: Head) -> dict[str, Any]:
    return {"cluster": head.cluster, "context": head.context, "began": head.began}
