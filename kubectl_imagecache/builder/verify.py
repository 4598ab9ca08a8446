"""Reads a cache disk back, ours or Google's, and compares it with what its metadata says."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from kubectl_imagecache.builder import checksums, layout
from kubectl_imagecache.builder.failures import MISMATCH, BuildFailed, printable
from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import Contents, UnreadableRecord


@dataclass(frozen=True, slots=True)
class Holds:
    """What a verified disk holds."""

    images: tuple[layout.ImageRow, ...]
    chain_ids: tuple[str, ...]
    """Of every layer, sorted."""
    record: Contents | None
    """The full record of a disk of ours; None on Google's."""
    checked: int
    """Layers whose checksums were compared; 0 if the disk has none or they were not wanted."""


def verify(root: str, *, contents: bool, on_layer: Callable[[str, int, int], None]) -> Holds:
    """Check the disk under ROOT; with CONTENTS every file is read and the checksums are compared.

    ON_LAYER hears of each layer checked: its chain ID, how many so far, of how many. Raises BuildFailed(MISMATCH).
    """
    snapshots = layout.read_snapshots(root)
    images = layout.read_images(root)
    sums = layout.read_sums(root)
    full = _record(root)
    _check_folders(root, snapshots)
    chain_ids = {snapshot.chain_id for snapshot in snapshots}
    if sums is not None and set(sums) != chain_ids:
        raise BuildFailed(MISMATCH, f"{layout.SUMS} and {layout.SNAPSHOTS} name different layers")
    if full is not None:
        _check_record(full, images, chain_ids)
    checked = _check_contents(root, snapshots, sums or {}, on_layer) if contents else 0
    return Holds(tuple(images), tuple(sorted(chain_ids)), full, checked)


def _record(root: str) -> Contents | None:
    path = Path(root, layout.RECORD)
    if not path.is_file() or path.is_symlink():
        return None
    with path.open("rb") as file:
        found = record.from_json(file.read(record.MAX_JSON + 1))
    if isinstance(found, UnreadableRecord):
        raise BuildFailed(MISMATCH, f"{layout.RECORD}: {printable(found.why)}")
    return found


def _check_folders(root: str, snapshots: list[layout.Snapshot]) -> None:
    for snapshot in snapshots:
        # Step by step: a disk from elsewhere could lead out of itself by a link.
        path = Path(root)
        for part in snapshot.path.split("/"):
            path = path / part
            if not path.exists() or not stat.S_ISDIR(path.lstat().st_mode):
                raise BuildFailed(MISMATCH, f"{layout.SNAPSHOTS} names {snapshot.path}, which is no directory there")
    named = {snapshot.path.split("/")[1] for snapshot in snapshots}
    unnamed = sorted({entry.name for entry in Path(root, "snapshots").iterdir()} - named)
    if unnamed:
        raise BuildFailed(
            MISMATCH, f"snapshots/{printable(unnamed[0], limit=60)} is not in {layout.SNAPSHOTS}", "a line was lost"
        )


def _check_record(full: Contents, images: list[layout.ImageRow], chain_ids: set[str]) -> None:
    recorded = {layer.chain_id for image in full.images for layer in image.layers}
    if recorded != chain_ids:
        raise BuildFailed(MISMATCH, f"{layout.RECORD} and {layout.SNAPSHOTS} name different layers")
    listed = {row.reference: row.digest for row in images}
    for image in full.images:
        if listed.get(str(image.ref)) != image.digest:
            raise BuildFailed(MISMATCH, f"{layout.RECORD} and {layout.IMAGES} disagree about {image.ref}")


def _check_contents(
    root: str, snapshots: list[layout.Snapshot], sums: dict[str, str], on_layer: Callable[[str, int, int], None]
) -> int:
    wanted = [s for s in snapshots if s.md5 or s.chain_id in sums]
    with ProcessPoolExecutor(max_workers=len(os.sched_getaffinity(0)), mp_context=get_context("fork")) as pool:
        jobs = [pool.submit(_check_layer, str(Path(root, s.path)), s, sums.get(s.chain_id, "")) for s in wanted]
        try:
            for count, (snapshot, job) in enumerate(zip(wanted, jobs, strict=True), start=1):
                job.result()
                on_layer(snapshot.chain_id, count, len(wanted))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return len(wanted)


def _check_layer(folder: str, snapshot: layout.Snapshot, tree: str) -> None:
    try:
        md5s = {
            path: checksums.file_md5(os.fsencode(folder) + b"/" + path)
            for path, status in checksums.walk(os.fsencode(folder))
            if stat.S_ISREG(status.st_mode)
        }
        found = {checksums.layer_md5(md5s.items()), checksums.layer_md5(md5s.items(), b"\\\n")}
        if snapshot.md5 and snapshot.md5 not in found:
            raise BuildFailed(MISMATCH, f"{snapshot.path} ({snapshot.chain_id}): the files have other contents")
        if tree and checksums.tree_sha256(folder, md5s.get) != tree:
            raise BuildFailed(
                MISMATCH, f"{snapshot.path} ({snapshot.chain_id}): a name, owner, mode, time, link or attribute differs"
            )
    except OSError as error:
        raise BuildFailed(MISMATCH, f"{snapshot.path} can't be read: {error.strerror}") from error
