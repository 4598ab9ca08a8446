"""The builder on a sandbox's VM: played for made-up container images, run for real for real ones."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from typing import Any

from kubectl_imagecache.core.contents import CachedImage, Contents, Layer
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.sandbox.catalog import Catalog
from kubectl_imagecache.sandbox.cloud import BootHook, Held, Machine
from kubectl_imagecache.sandbox.real_vm import RealVms, missing

BYTES_PER_S = 180 * 2**20
"""Compressed bytes that the VM brings in a (virtual) second."""
BOOT_S = 15.0
"""From RUNNING until the start-up script begins."""
_JOB = re.compile(r"job\.json\" <<'END'\n(?P<job>[A-Za-z0-9+/=\s]+)\nEND\n")


def builder_vm(catalog: Catalog, vms: RealVms) -> BootHook:
    """A hook for Cloud.on_boot; machines whose start-up script is not a build are left alone.

    Container images that the sandbox has made up have no bytes: for them the builder is played. Any others are
    in real registries, and the start-up script runs as it is, where this machine can do that.
    """

    def boot(machine: Machine) -> None:
        found = _JOB.search(machine.metadata("startup-script"))
        if found is None:
            return
        job = json.loads(base64.b64decode(found["job"]))
        if any(catalog.tags(_repository(image)) is not None for image in job["images"]) or missing():
            machine.write_serial("[    0.000000] Linux version 6.1.0 (played by the sandbox)\r\n")
            machine.after(BOOT_S, lambda: _Run(machine, catalog, job).begin())
        else:
            vms.boot(machine)

    return boot


def _repository(image: dict[str, Any]) -> str:
    name, _, _ = str(image["reference"]).partition("@")
    return name if ":" not in name.rpartition("/")[2] else name.rpartition(":")[0]


class _Run:
    """One run of the builder; lines are numbered from 0."""

    def __init__(self, machine: Machine, catalog: Catalog, job: dict[str, Any]) -> None:
        self._machine, self._catalog, self._job = machine, catalog, job
        self._sequence = 0
        self._at = 0.0
        self._layers: list[Layer] = []
        self._images: list[CachedImage] = []
        self._pulled = 0

    def begin(self) -> None:
        """Resolve the images, then bring layer after layer."""
        images = self._job["images"]
        self._say("note", text="the sandbox plays the VM: the bytes that it reports are not pulled")
        self._say("phase", phase="resolve", images=len(images))
        known: dict[str, Layer] = {}
        for image in images:
            repository = _repository(image)
            try:
                found = self._catalog.cached(f"{repository}@{image['digest']}", image["platform"].split("/")[1])
            except (BadUsage, KeyError):
                words = f"manifests/{image['digest']} of {repository}: 404 Not Found"
                hint = f"to build real container images the sandbox lacks {lacks}" if (lacks := missing()) else ""
                self._say("failed", kind="registry", message=words, hint=hint, needed=None)
                return
            self._images.append(replace(found, ref=parse(image["reference"])))
            chain_ids = [layer.chain_id for layer in found.layers]
            sizes = [layer.compressed or 0 for layer in found.layers]
            self._say(
                "image",
                image=image["reference"],
                manifest=image["digest"],
                bytes=found.compressed,
                layers=chain_ids,
                sizes=sizes,
            )
            known.update({layer.chain_id: layer for layer in found.layers})
        self._layers = list(known.values())
        total = sum(layer.compressed or 0 for layer in self._layers)
        self._say("phase", phase="layers", layers=len(self._layers), bytes=total)
        self._next(0, total)

    def _next(self, index: int, total: int) -> None:
        if index == len(self._layers):
            self._later(1.0, self._end)
            return
        layer = self._layers[index]

        def done() -> None:
            self._pulled += layer.compressed or 0
            self._say("layer", layer=layer.chain_id, unpacked=layer.unpacked, files=100)
            self._say("progress", bytes=self._pulled, of=total, layers={})
            self._next(index + 1, total)

        self._later((layer.compressed or 0) / BYTES_PER_S, done)

    def _end(self) -> None:
        self._say("phase", phase="metadata")
        self._say("phase", phase="check")
        device = str(self._job["target"]["device"]).rpartition("google-")[2]
        images = tuple(self._images)
        record = Contents(images, self._machine.state.now(), self._job["builder"], self._job["plan"])
        self._machine.write_disk(device, Held(frozenset(x.chain_id for x in self._layers), images, record))
        self._say("done", images=len(self._job["images"]), seconds=round(self._at, 1))

    def _later(self, seconds: float, action: Any) -> None:
        def due() -> None:
            self._at += seconds
            action()

        self._machine.after(seconds, due)

    def _say(self, event: str, **fields: object) -> None:
        line = {"imagecache": 1, "seq": self._sequence, "at": round(self._at, 2), "event": event, **fields}
        self._sequence += 1
        self._machine.write_serial(f"startup-script: {json.dumps(line, separators=(',', ':'))}\r\n")
