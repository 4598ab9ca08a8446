"""Follows the builder's report on the VM's serial port, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kubectl_imagecache.builder.failures import printable
from kubectl_imagecache.builder.report import Event, read
from kubectl_imagecache.clients.compute_build import BuildCompute
from kubectl_imagecache.core.build import BuilderEnd, BuildVm
from kubectl_imagecache.core.errors import NotFound
from kubectl_imagecache.usecases.patience import Tell

_MAX_REST = 1 << 20


@dataclass(frozen=True, slots=True)
class ImageProgress:
    """How far one container image is; layers that images share count for each."""

    reference: str
    """Printable."""
    bytes: int
    """Compressed bytes pulled."""
    of: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the builder is."""

    phase: str = ""
    bytes: int = 0
    """Compressed bytes pulled."""
    of: int = 0
    """Compressed bytes to pull, each layer once; 0 is not known yet."""
    layers_done: int = 0
    layers: int = 0
    at_s: float = 0.0
    """Seconds since the builder began."""
    images: tuple[ImageProgress, ...] = ()


@dataclass(slots=True)
class ReportReader:
    """Text in, events out; keeps what the report has said so far."""

    offset: int = 0
    """Of the serial port, where the next piece begins."""
    progress: Progress = field(default_factory=Progress)
    end: BuilderEnd | None = None
    _rest: str = ""
    _next: int = 0
    _images: dict[str, dict[str, int]] = field(default_factory=dict)
    """Reference -> chain ID -> compressed bytes."""
    _done: set[str] = field(default_factory=set)
    """Chain IDs."""

    def take(self, text: str, start: int, following: int) -> list[Event]:
        """The events in TEXT, which began at START; events named `lost` stand for text or lines that are missing."""
        events: list[Event] = []
        if start > self.offset:
            self._rest = ""
            events.append(Event("lost", -1, self.progress.at_s, {"bytes": start - self.offset}))
        self.offset = following
        lines = (self._rest + text).split("\n")
        self._rest = lines.pop()[-_MAX_REST:]
        for line in lines:
            event = read(line)
            if event is not None:
                events += self._counted(event)
        return events

    def _counted(self, event: Event) -> list[Event]:
        found: list[Event] = []
        if event.sequence == 0 and self._next:
            # The VM has booted again: what the first run said no longer holds.
            self.progress, self.end, self._images, self._done = Progress(), None, {}, set()
        elif event.sequence > self._next:
            found.append(Event("lost", -1, event.at_s, {"lines": event.sequence - self._next}))
        self._next = event.sequence + 1
        self._note(event.name, event.fields, event.at_s)
        return [*found, event]

    def _note(self, name: str, fields: Mapping[str, Any], at_s: float) -> None:
        old = self.progress
        if name == "phase":
            total, layers = fields.get("bytes"), fields.get("layers")
            self.progress = replace(
                old,
                phase=printable(str(fields.get("phase", "")), limit=40),
                of=total if isinstance(total, int) else old.of,
                layers=layers if isinstance(layers, int) else old.layers,
                at_s=at_s,
            )
        elif name == "image":
            ids, sizes = fields.get("layers"), fields.get("sizes")
            if isinstance(ids, list) and isinstance(sizes, list) and all(type(size) is int for size in sizes):
                self._images[printable(str(fields.get("image", "")))] = dict(zip(map(str, ids), sizes, strict=False))
        elif name == "progress":
            done, total, active = fields.get("bytes"), fields.get("of"), fields.get("layers")
            if isinstance(done, int) and isinstance(total, int):
                images = self._by_image(active if isinstance(active, dict) else {})
                self.progress = replace(old, bytes=done, of=total, at_s=at_s, images=images)
        elif name == "layer":
            self._done.add(str(fields.get("layer")))
            self.progress = replace(old, layers_done=old.layers_done + 1, at_s=at_s, images=self._by_image({}))
        elif name == "done":
            self.end = BuilderEnd(True)
        elif name == "failed":
            said = {key: printable(str(fields.get(key) or "")) for key in ("kind", "message", "hint")}
            self.end = BuilderEnd(False, said["kind"], said["message"] or "the builder failed", said["hint"])

    def _by_image(self, active: Mapping[str, Any]) -> tuple[ImageProgress, ...]:
        """ACTIVE: chain ID -> [bytes, of bytes], as the builder tells it."""
        now = {c: pair[0] for c, pair in active.items() if isinstance(pair, list) and pair and type(pair[0]) is int}
        return tuple(
            ImageProgress(
                reference,
                sum(size if c in self._done else min(now.get(c, 0), size) for c, size in layers.items()),
                sum(layers.values()),
            )
            for reference, layers in self._images.items()
        )


def follow(report: ReportReader, compute: BuildCompute, vm: BuildVm, log: Callable[[str], None], tell: Tell) -> None:
    """Read on in the serial port of VM, for REPORT and LOG, and TELL what is new; raises what BuildCompute raises."""
    try:
        piece = compute.serial(vm.zone, vm.name, report.offset)
    except NotFound:
        return  # It has just gone; the next look tells.
    log(piece.text)
    before = report.progress
    for event in report.take(piece.text, piece.start, piece.next):
        tell(event.name, event.fields)
    if report.progress != before:
        tell("at", {"progress": report.progress})
