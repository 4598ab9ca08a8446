"""A sandbox's VM that reads a disk image: for real where the bytes are, else played from the catalogue, saying so."""

from __future__ import annotations

import json
import re

from kubectl_imagecache.core.contents import CachedImage, Layer
from kubectl_imagecache.core.survey import ListedImage, Survey, SurveyedLayer
from kubectl_imagecache.core.survey_wire import EVENT, pieces
from kubectl_imagecache.sandbox.catalog import Catalog
from kubectl_imagecache.sandbox.cloud import BootHook, Held, Machine
from kubectl_imagecache.sandbox.real_vm import RealVms, missing

BYTES_PER_S = 200 * 2**20
"""That the VM reads in a (virtual) second."""
BOOT_S = 15.0
"""From RUNNING until the start-up script begins."""
NOTE = "the sandbox played this reading from its catalogue: no bytes were read"
ROUNDS = 20
PAUSE_S = 30.0
_READ = re.compile(r'"\$dir/builder\.pyz" read --device \S*google-(?P<device>\S+)(?P<options>.*)')
_BLOCK = 4096


def reader_vm(catalog: Catalog, vms: RealVms) -> BootHook:
    """A hook for Cloud.on_boot; machines whose start-up script is not a reading are left alone.

    A disk whose bytes are real is read for real; of any other is told what it is said to hold.
    """

    def boot(machine: Machine) -> None:
        found = _READ.search(machine.metadata("startup-script"))
        if found is not None and machine.disk(found["device"]).file is not None and not missing():
            vms.boot(machine)
        elif found is not None:
            contents = "--contents" in found["options"]
            survey = surveyed(machine.disk(found["device"]), catalog, contents)
            machine.write_serial("[    0.000000] Linux version 6.1.0 (played by the sandbox)\r\n")
            seconds = survey.used / BYTES_PER_S if contents else 2.0
            run = _Run(machine, survey, seconds)
            machine.after(BOOT_S, run.begin)

    return boot


def surveyed(held: Held, catalog: Catalog, contents: bool) -> Survey:
    """What a reading of a disk that holds HELD finds."""
    if not held.chain_ids:
        nothing = "there is no ext4 file system, neither on the disk nor on its first partition"
        return Survey(findings=(nothing,), notes=(NOTE,), contents=contents)
    known = {layer.chain_id: layer for image in held.listed for layer in image.layers}
    layers = tuple(
        _layer(known.get(chain_id, Layer(chain_id)), number)
        for number, chain_id in enumerate(sorted(held.chain_ids), 1)
    )
    used = sum(layer.stored for layer in layers)
    return Survey(
        tuple(row for image in held.listed for row in _rows(image, catalog)),
        layers,
        held.record,
        notes=(NOTE,),
        contents=contents,
        checked=len(layers) if contents else 0,
        bytes=used + used // 10,
        used=used,
    )


def _layer(layer: Layer, number: int) -> SurveyedLayer:
    unpacked = layer.unpacked or 0
    return SurveyedLayer(
        layer.chain_id, f"snapshots/{number}/fs", unpacked, -(-unpacked // _BLOCK) * _BLOCK, max(1, unpacked // 50_000)
    )


def _rows(image: CachedImage, catalog: Catalog) -> list[ListedImage]:
    """As `ctr images ls` has them: under the reference, and under the config's digest."""
    size = f"{(image.compressed or 0) / 2**20:.1f} MiB"
    names = [str(image.ref), *(d for d in sorted(image.other_digests) if catalog.blob(image.ref.name, d) is not None)]
    return [ListedImage(name, image.digest, size, image.platform) for name in names]


class _Run:
    """One run of the reader; lines are numbered from 0."""

    def __init__(self, machine: Machine, survey: Survey, seconds: float) -> None:
        self._machine, self._survey, self._seconds = machine, survey, seconds
        self._sequence = 0
        self._at = 0.0

    def begin(self) -> None:
        """Say what is being done, and after a while what was found."""
        phase = "read the files" if self._survey.contents else "read the metadata"
        self._say("phase", phase=phase)
        self._say("progress", bytes=0, of=self._survey.used, layers={})
        self._at += self._seconds
        self._machine.after(self._seconds, lambda: self._round(ROUNDS))

    def _round(self, left: int) -> None:
        for fields in pieces(self._survey):
            self._say(EVENT, **fields)
        if left == ROUNDS:
            self._say("done", findings=len(self._survey.findings), seconds=round(self._at, 1))
        if left == 1:
            self._say("over")
            return
        self._at += PAUSE_S
        self._machine.after(PAUSE_S, lambda: self._round(left - 1))

    def _say(self, event: str, **fields: object) -> None:
        line = {"imagecache": 1, "seq": self._sequence, "at": round(self._at, 2), "event": event, **fields}
        self._sequence += 1
        self._machine.write_serial(f"startup-script: {json.dumps(line, separators=(',', ':'))}\r\n")
