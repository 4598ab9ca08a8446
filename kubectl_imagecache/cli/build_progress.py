"""Says how far a build is: a bar on a terminal, lines into a pipe, or JSON (schemas/build-event.json)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from shutil import get_terminal_size
from typing import Any, TextIO

from kubectl_imagecache.cli.options import Flags
from kubectl_imagecache.render.text import cut, duration, gib, mib_per_s, neutral
from kubectl_imagecache.usecases.builder_report import Progress

_BAR = 24
_IMAGES = 8
"""Bars of container images at one time, besides the one of all."""
_SAID = ("step", "phase", "retry", "note", "lost", "removing", "left", "writing")


class Teller:
    """Takes a build's events and shows them in one of three ways."""

    def __init__(self, out: TextIO, err: TextIO, way: str, quiet: bool) -> None:
        """WAY: `json`, `name` or `table`; JSON goes to OUT, what is for people to ERR, the result to OUT."""
        self._out, self._err, self._way, self._quiet = out, err, way, quiet
        self._bar = err.isatty() and way == "table" and not quiet
        self._drawn = 0
        self._quarter = 0
        self._whole: set[str] = set()

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """Something happened."""
        if self._way == "json":
            if not self._quiet:
                self._json(name, fields)
            return
        if self._quiet:
            return
        progress = fields.get("progress")
        if isinstance(progress, Progress):
            self._progress(progress)
        elif name in _SAID:
            self.clear()
            self._err.write(f"{neutral(_words(name, fields))}\n")
            self._err.flush()

    def end(self, name: str, fields: Mapping[str, Any], words: str) -> None:
        """The result, said even if quiet."""
        self.clear()
        if self._way == "json":
            self._json(name, fields)
        elif self._way == "name" and "diskImage" in fields:
            self._out.write(f"diskimage/{neutral(str(fields['diskImage']))}\n")
        else:
            self._out.write(f"{neutral(words)}\n")
        self._out.flush()

    def clear(self) -> None:
        """Take the bars away."""
        if self._drawn:
            self._err.write("\r" + "\x1b[A" * (self._drawn - 1) + "\x1b[J")
            self._err.flush()
            self._drawn = 0

    def _json(self, name: str, fields: Mapping[str, Any]) -> None:
        plain = {key: _document(value) if isinstance(value, Progress) else value for key, value in fields.items()}
        self._out.write(json.dumps({"event": name, **plain}, ensure_ascii=True) + "\n")
        self._out.flush()

    def _progress(self, progress: Progress) -> None:
        if not progress.of:
            return
        share = min(progress.bytes / progress.of, 1.0)
        rate = progress.bytes / progress.at_s if progress.at_s > 0 else 0.0
        left = f", {duration((progress.of - progress.bytes) / rate)} left" if rate and share < 1 else ""
        layers = f" layer {progress.layers_done} of {progress.layers}," if progress.layers else ""
        text = f"{gib(progress.bytes)} of {gib(progress.of)},{layers} {mib_per_s(rate)}{left}"
        whole = [i.reference for i in progress.images if i.bytes >= i.of and i.reference not in self._whole]
        if whole:
            self.clear()
            self._whole |= set(whole)
            self._err.writelines(f"{neutral(reference)}: all layers are on the disk\n" for reference in whole)
        if self._bar:
            columns = get_terminal_size().columns - 1
            under_way = [i for i in progress.images if 0 < i.bytes < i.of][:_IMAGES]
            lines = [_line(i.bytes / i.of, neutral(i.reference), columns) for i in under_way]
            self.clear()
            self._err.write("\n".join([*lines, _line(share, text, columns)]))
            self._err.flush()
            self._drawn = len(lines) + 1
        elif int(share * 4) > self._quarter:
            self._quarter = int(share * 4)
            self._err.write(f"{text}\n")


def _document(progress: Progress) -> dict[str, Any]:
    return {
        "phase": progress.phase,
        "bytes": progress.bytes,
        "of": progress.of,
        "layersDone": progress.layers_done,
        "layers": progress.layers,
        "seconds": progress.at_s,
        "images": [{"reference": i.reference, "bytes": i.bytes, "of": i.of} for i in progress.images],
    }


def _line(share: float, text: str, columns: int) -> str:
    # Never wrapped: what is drawn is taken away line by line.
    return cut(f"[{'#' * int(share * _BAR):<{_BAR}}] {share:4.0%} {text}", columns)


def teller(flags: Flags, quiet: bool) -> Teller:
    """The way that -o asks for."""
    way = flags.output if flags.output in ("json", "name") else "table"
    return Teller(sys.stdout, sys.stderr, way, quiet)


def _words(name: str, fields: Mapping[str, Any]) -> str:
    if name == "step":
        return f"{fields['build']}: {fields['step']}"
    if name == "phase":
        return f"on the VM: {fields.get('phase', '')}"
    if name == "note":
        return f"note: {fields.get('text', '')}"
    if name == "lost":
        what = f"{fields['bytes']} bytes" if "bytes" in fields else f"{fields.get('lines')} lines"
        return f"{what} of the VM's report were lost"
    if name == "writing":
        return f"writing {fields['what']} of {fields['why']}"
    if name == "left":
        return f"warning: {fields['what']} stays: {fields['why']}"
    return f"{name}: {fields.get('why') or fields.get('what') or ''}"
