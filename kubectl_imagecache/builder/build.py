"""Builds a cache disk: resolve the images, bring their layers, write what the disk holds."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

from kubectl_imagecache.builder import disk, layout, parents
from kubectl_imagecache.builder.checksums import tree_sha256
from kubectl_imagecache.builder.decompress import has_zstd
from kubectl_imagecache.builder.failures import MISMATCH, NO_SPACE, NO_TOOL, TOO_LARGE, BuildFailed
from kubectl_imagecache.builder.images import ResolvedImage, resolve_image
from kubectl_imagecache.builder.job import Job, JobImage, Target
from kubectl_imagecache.builder.layers import LayerDone, LayerTask
from kubectl_imagecache.builder.registry import Registry
from kubectl_imagecache.builder.report import Reporter
from kubectl_imagecache.builder.survey import survey
from kubectl_imagecache.builder.workers import bring_all
from kubectl_imagecache.core.contents import CachedImage, Contents, Layer

_RESOLVERS = 8
_USUAL_RATIO = 2.6  # unpacked bytes per compressed one, where nothing better is known
_AT_LEAST = 1.25  # of the present size, where the estimate says that it should have been enough
_FLUSH_AT = 64 * 1024 * 1024  # bytes; less is not worth a commit of the journal
_HEADROOM = 1.1  # ext4's own structures and the last blocks of files


def build(job: Job, reporter: Reporter) -> Contents:
    """Do JOB: afterwards its target holds all its images, unmounted and checked if it is a device.

    Raises BuildFailed; the metadata files are written last, so that a failed build never looks like a cache.
    """
    reporter.say("phase", phase="resolve", images=len(job.images))
    images = resolve_all(job, reporter)
    with disk.writable(job.target) as root:
        contents = _fill(job, images, root, reporter)
        reporter.say("phase", phase="check" if job.target.device else "flush")
    if job.verify and job.target.device:
        _verify(job.target, reporter)
    return contents


def _verify(target: Target, reporter: Reporter) -> None:
    """Read the finished disk back; raises BuildFailed(MISMATCH) if it isn't what was written."""
    reporter.say("phase", phase="verify")
    with disk.readable(target) as root:
        found = survey(root, contents=True, on_layer=lambda done, total: reporter.progress(done, total, {}))
    if found.findings:
        more = f" (and {len(found.findings) - 1} more)" if len(found.findings) > 1 else ""
        raise BuildFailed(MISMATCH, f"the finished disk is not what was written: {found.findings[0]}{more}")


def resolve_all(job: Job, reporter: Reporter) -> list[ResolvedImage]:
    """Every image of JOB as its registry describes it, in the job's order."""

    def resolve(image: JobImage) -> ResolvedImage:
        access = job.access(image.reference.registry)
        return resolve_image(image, Registry(access, on_retry=lambda why: reporter.say("retry", why=why)))

    with ThreadPoolExecutor(_RESOLVERS) as pool:
        images = list(pool.map(resolve, job.images))
    for image in images:
        reporter.say(
            "image",
            image=str(image.image.reference),
            manifest=image.manifest,
            bytes=sum(layer.size for layer in image.layers),
            layers=[layer.chain_id for layer in image.layers],
            sizes=[layer.size for layer in image.layers],
        )
        if any(layer.media_type.endswith("zstd") for layer in image.layers) and not has_zstd():
            raise BuildFailed(
                NO_TOOL,
                f"{image.image.reference} has zstd layers, and this machine has no zstd",
                "take a Debian boot image",
            )
    return images


def _fill(job: Job, images: Sequence[ResolvedImage], root: str, reporter: Reporter) -> Contents:
    tasks = _tasks(job, images, root)
    reporter.say("phase", phase="layers", layers=len(tasks), bytes=sum(task.layer.size for task in tasks))
    done = _bring(job, tasks, root, reporter)
    _copy_up(images, tasks, done)
    reporter.say("phase", phase="metadata")
    from kubectl_imagecache.core import record  # late: a build starts sooner without it

    folders = {task.layer.chain_id: task.folder for task in tasks}
    trees = {c: d.tree or tree_sha256(folders[c], d.md5s.get) for c, d in done.items()}
    relative = {c: str(Path(folder).relative_to(root)) for c, folder in folders.items()}
    contents = _contents(job, images, done)
    files = {
        layout.SUMS: layout.sums(trees),
        layout.RECORD: record.to_json(contents) + "\n",
        layout.IMAGES: layout.images_metadata(images),
        layout.SNAPSHOTS: layout.snapshots_metadata(layout.Snapshot(c, relative[c], d.md5) for c, d in done.items()),
    }
    try:
        layout.write(root, files)
    except OSError as error:
        raise _too_small(tasks, done, root, str(error.strerror)) from error
    unpacked = sum(layer.unpacked for layer in done.values())
    reporter.say("filled", images=len(images), layers=len(done), unpacked=unpacked, free=disk.free_bytes(root))
    return contents


def _tasks(job: Job, images: Sequence[ResolvedImage], root: str) -> list[LayerTask]:
    """Each distinct layer once, however many images share it."""
    tasks: dict[str, LayerTask] = {}
    limit = min(disk.total_bytes(root), job.limits.unpacked_bytes or disk.total_bytes(root))
    for image in images:
        for depth, layer in enumerate(image.layers):
            if layer.chain_id not in tasks:
                folder = f"{root}/snapshots/{len(tasks) + 1}/fs"
                tasks[layer.chain_id] = LayerTask(layer, folder, depth == 0, limit, job.limits.entries, job.checksums)
    return list(tasks.values())


def _bring(job: Job, tasks: Sequence[LayerTask], root: str, reporter: Reporter) -> dict[str, LayerDone]:
    done: dict[str, LayerDone] = {}
    if sum(task.layer.size for task in tasks) > disk.free_bytes(root):
        raise _too_small(tasks, done, root, "the layers are larger than it even compressed")

    unflushed = 0

    def on_done(layer: LayerDone) -> None:
        nonlocal unflushed
        done[layer.chain_id] = layer
        unflushed += layer.unpacked
        if unflushed >= _FLUSH_AT:
            unflushed = 0
            flush()
        reporter.say("layer", layer=layer.chain_id, unpacked=layer.unpacked, files=layer.entries)
        total = sum(known.unpacked for known in done.values())
        if 0 < job.limits.unpacked_bytes < total:
            raise BuildFailed(TOO_LARGE, f"the layers unpack to more than {job.limits.unpacked_bytes} bytes")

    try:
        with disk.flushing(root) as flush:
            return bring_all(job, tasks, reporter, on_done)
    except BuildFailed as failure:
        larger_than_the_disk = failure.kind == TOO_LARGE and failure.needed and not job.limits.unpacked_bytes
        if failure.kind == NO_SPACE or larger_than_the_disk:
            raise _too_small(tasks, done, root, failure.message) from failure
        raise


def _too_small(tasks: Sequence[LayerTask], done: dict[str, LayerDone], root: str, why: str) -> BuildFailed:
    """What a disk for TASKS should have: the layers DONE as they are, the others in proportion."""
    compressed = sum(task.layer.size for task in tasks if task.layer.chain_id in done)
    unpacked = sum(layer.unpacked for layer in done.values())
    ratio = max(_USUAL_RATIO, unpacked / compressed if compressed else 0)
    rest = sum(task.layer.size for task in tasks if task.layer.chain_id not in done)
    has = disk.total_bytes(root)
    needed = max(int((unpacked + rest * ratio) * _HEADROOM), int(has * _AT_LEAST))
    return BuildFailed(
        NO_SPACE,
        f"the disk is too small ({why}): it has {has / 2**30:.1f} GiB, about {needed / 2**30:.1f} GiB are needed",
        "ask for a larger disk, or leave images out",
        needed,
    )


def _copy_up(images: Sequence[ResolvedImage], tasks: Sequence[LayerTask], done: dict[str, LayerDone]) -> None:
    """From the base up: what a layer takes from below must be final there."""
    folders = {task.layer.chain_id: task.folder for task in tasks}
    finished: set[str] = set()
    for image in images:
        chain = [layer.chain_id for layer in image.layers]
        for depth, chain_id in enumerate(chain):
            if chain_id not in finished and done[chain_id].implied:
                below = [folders[lower] for lower in reversed(chain[:depth])]
                parents.copy_up(folders[chain_id], done[chain_id].implied, below)
            finished.add(chain_id)


def _contents(job: Job, images: Sequence[ResolvedImage], done: dict[str, LayerDone]) -> Contents:
    return Contents(
        tuple(
            CachedImage(
                image.image.reference,
                image.image.digest,
                frozenset({image.manifest, image.config} - {image.image.digest}),
                sum(layer.size for layer in image.layers),
                tuple(Layer(layer.chain_id, layer.size, done[layer.chain_id].unpacked) for layer in image.layers),
                image.image.platform,
            )
            for image in images
        ),
        datetime.now(timezone.utc),
        job.builder,
        job.plan,
    )
