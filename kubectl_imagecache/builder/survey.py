"""Reads a cache disk, ours or Google's: what it holds, how large it is, and everything that is wrong with it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from kubectl_imagecache.builder import checksums, disk, layout
from kubectl_imagecache.builder.failures import BuildFailed, printable
from kubectl_imagecache.builder.job import Target
from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import Contents, UnreadableRecord
from kubectl_imagecache.core.survey import ListedImage, Survey, SurveyedLayer

MOST_FINDINGS = 200
"""Told one by one; beyond it only their number is."""
_BLOCK = 512  # bytes, of st_blocks

OnLayer = Callable[[int, int], None]
"""Hears after each layer how many bytes are read, of how many that are in use on the disk."""


def survey_device(device: str, *, contents: bool, on_layer: OnLayer) -> Survey:
    """Read the disk DEVICE; with CONTENTS every file is read and compared with the checksums, and e2fsck is run.

    What is wrong with the disk is in `findings`; raises BuildFailed where the disk can't be looked at at all.
    """
    place = disk.ext4_on(device)
    if not place:
        return Survey(findings=("there is no ext4 file system, neither on the disk nor on its first partition",))
    findings = []
    try:
        if contents:
            disk.check(device)
    except BuildFailed as failure:
        findings.append(f"the file system is damaged or was not unmounted: {failure.message}")
    try:
        with disk.readable(Target(device=device)) as root:
            found = survey(root, contents=contents, on_layer=on_layer)
            found = replace(
                found,
                partition=place != device,
                bytes=disk.total_bytes(root),
                used=disk.total_bytes(root) - disk.free_bytes(root),
            )
    except BuildFailed as failure:
        return Survey(findings=(*findings, failure.message))
    return replace(found, findings=(*findings, *found.findings))


def survey(root: str, *, contents: bool, on_layer: OnLayer) -> Survey:
    """Read the cache disk whose root is the folder ROOT, as `survey_device` does."""
    findings: list[str] = []
    snapshots = layout.read_snapshots(root, findings.append)
    rows = layout.read_images(root, findings.append)
    sums = layout.read_sums(root, findings.append)
    full = _record(root, findings)
    there = [snapshot for snapshot in snapshots if _is_there(root, snapshot, findings)]
    if snapshots:  # without them all the rest would only say it again
        findings += _unnamed(root, snapshots)
        findings += _differences(full, rows, sums, {snapshot.chain_id for snapshot in snapshots})
    used = disk.total_bytes(root) - disk.free_bytes(root)
    layers, wrong = _look_at(root, there, sums or {}, contents, lambda done: on_layer(done, used))
    return Survey(
        tuple(ListedImage(row.reference, row.digest, row.size, row.platforms) for row in rows),
        tuple(sorted(layers, key=lambda layer: layer.chain_id)),
        full,
        _bounded([*findings, *wrong]),
        contents=contents,
        checked=sum(1 for s in there if s.md5 or s.chain_id in (sums or {})) if contents else 0,
    )


def _bounded(findings: list[str]) -> tuple[str, ...]:
    more = len(findings) - MOST_FINDINGS
    told = [printable(finding) for finding in findings[:MOST_FINDINGS]]
    return (*told, f"and {more} more findings") if more > 0 else tuple(told)


def _record(root: str, findings: list[str]) -> Contents | None:
    path = Path(root, layout.RECORD)
    if not path.is_file() or path.is_symlink():
        return None
    try:
        with path.open("rb") as file:
            found = record.from_json(file.read(record.MAX_JSON + 1))
    except OSError as error:
        found = UnreadableRecord(f"it can't be read: {error.strerror}")
    if isinstance(found, UnreadableRecord):
        findings.append(f"{layout.RECORD}: {found.why}")
        return None
    return found


def _is_there(root: str, snapshot: layout.Snapshot, findings: list[str]) -> bool:
    # Step by step: a disk from elsewhere could lead out of itself by a link.
    path = Path(root)
    for part in snapshot.path.split("/"):
        path = path / part
        if not path.exists() or not stat.S_ISDIR(path.lstat().st_mode):
            findings.append(f"{layout.SNAPSHOTS} names {snapshot.path}, which is no directory there")
            return False
    return True


def _unnamed(root: str, snapshots: Iterable[layout.Snapshot]) -> list[str]:
    named = {snapshot.path.split("/")[1] for snapshot in snapshots}
    try:
        present = {entry.name for entry in Path(root, "snapshots").iterdir()}
    except OSError:
        return []  # then each line's folder is missing, and told
    return [
        f"snapshots/{printable(name, limit=60)} is not in {layout.SNAPSHOTS}: a line was lost"
        for name in sorted(present - named)
    ]


def _differences(
    full: Contents | None, rows: list[layout.ImageRow], sums: dict[str, str] | None, chain_ids: set[str]
) -> list[str]:
    """Where our own files, if there are any, and the layout's disagree."""
    found = []
    if sums is not None and set(sums) != chain_ids:
        found.append(f"{layout.SUMS} and {layout.SNAPSHOTS} name different layers")
    if full is None:
        return found
    if {layer.chain_id for image in full.images for layer in image.layers} != chain_ids:
        found.append(f"{layout.RECORD} and {layout.SNAPSHOTS} name different layers")
    listed = {row.reference: row.digest for row in rows}
    recorded = {str(image.ref): image.digest for image in full.images}
    found += [
        f"{layout.RECORD} and {layout.IMAGES} disagree about {reference}"
        for reference, digest in recorded.items()
        if listed.get(reference) != digest
    ]
    found += [
        f"{layout.IMAGES} names {reference}, {layout.RECORD} does not"
        for reference in listed
        if reference not in recorded and not reference.startswith("sha256:")
    ]
    return found


def _look_at(
    root: str, snapshots: list[layout.Snapshot], sums: dict[str, str], contents: bool, on_done: Callable[[int], None]
) -> tuple[list[SurveyedLayer], list[str]]:
    layers: list[SurveyedLayer] = []
    wrong: list[str] = []
    with ProcessPoolExecutor(max_workers=len(os.sched_getaffinity(0)), mp_context=get_context("fork")) as pool:
        jobs = [pool.submit(_look, str(Path(root, s.path)), s, sums.get(s.chain_id, ""), contents) for s in snapshots]
        try:
            for snapshot, job in zip(snapshots, jobs, strict=True):
                try:
                    layer, finding = job.result()
                except OSError as error:
                    wrong.append(f"{snapshot.path} ({snapshot.chain_id}) can't be read: {error.strerror}")
                    continue
                layers.append(layer)
                wrong += [finding] if finding else []
                on_done(sum(layer.stored for layer in layers))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return layers, wrong


def _look(folder: str, snapshot: layout.Snapshot, tree: str, contents: bool) -> tuple[SurveyedLayer, str]:
    """The layer's sizes, and what is wrong with it (empty: nothing); raises OSError."""
    root = os.fsencode(folder)
    compare = contents and bool(snapshot.md5 or tree)
    md5s: dict[bytes, bytes] = {}
    seen: set[int] = set()
    unpacked = stored = files = 0
    for path, status in checksums.walk(root):
        files += 1
        if stat.S_ISREG(status.st_mode) and compare:
            md5s[path] = checksums.file_md5(root + b"/" + path)
        if status.st_ino not in seen:
            stored += status.st_blocks * _BLOCK
            unpacked += status.st_size if stat.S_ISREG(status.st_mode) else 0
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            seen.add(status.st_ino)
    layer = SurveyedLayer(snapshot.chain_id, snapshot.path, unpacked, stored, files)
    return layer, _compared(folder, snapshot, tree, md5s) if compare else ""


def _compared(folder: str, snapshot: layout.Snapshot, tree: str, md5s: dict[bytes, bytes]) -> str:
    what = f"{snapshot.path} ({snapshot.chain_id})"
    found = {checksums.layer_md5(md5s.items()), checksums.layer_md5(md5s.items(), b"\\\n")}
    if snapshot.md5 and snapshot.md5 not in found:
        return f"{what}: the files have other contents"
    if tree and checksums.tree_sha256(folder, md5s.get) != tree:
        return f"{what}: a name, owner, mode, time, link or attribute differs"
    return ""
