"""`rebuild --unused-for`: what recordings of pulls say of images that nothing uses now."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from kubectl_imagecache.clients import recording
from kubectl_imagecache.core.kubelet_words import understand
from kubectl_imagecache.core.pull_records import EventRecord, Record
from kubectl_imagecache.core.report import PoolStatus
from kubectl_imagecache.core.unused import Recorded, kept
from kubectl_imagecache.core.wishes import Wishes
from kubectl_imagecache.render.text import count, duration, neutral


def keep_recent(wishes: Wishes, pool: PoolStatus, files: tuple[Path, ...], span_s: float, now: datetime) -> Wishes:
    """WISHES, with POOL's cached images kept that the recordings FILES show in use within SPAN_S.

    If the files don't go back so far nothing is known to be unused for so long: then all stay, which is said.
    Raises NotFound and BadAnswer for a file.
    """
    stay, covered = kept(pool.unused, [_recorded(file) for file in files], now.timestamp(), span_s)
    if not covered and pool.unused:
        sys.stderr.write(
            f"note: the recordings don't cover the last {duration(span_s)}: {count(len(stay), 'unused image')} kept\n"
        )
    elif stay:
        names = ", ".join(neutral(image.ref.familiar) for image in stay)
        sys.stderr.write(f"note: kept, as used within {duration(span_s)}: {names}\n")
    return replace(wishes, keep=(*wishes.keep, *(str(image.ref) for image in stay)))


def _recorded(file: Path) -> Recorded:
    found = Recorded(0.0)

    def add(record: Record) -> None:
        if isinstance(record, EventRecord):
            found.note(understand(record.reason, record.message), record.last or record.first)

    head, _ = recording.read(file, add)
    found.began = head.began
    return found
