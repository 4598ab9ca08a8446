"""Find what uses a project's disk images, and deprecate and delete those that nothing needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from kubectl_imagecache.clients.compute_build import Operation
from kubectl_imagecache.clients.compute_images import DiskImages
from kubectl_imagecache.clients.gke import ClusterDocument, Gke
from kubectl_imagecache.clients.target import ClusterSummary
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.disk_gc import DiskImageUse, GcAction, GcDecision, UserKind, replacements
from kubectl_imagecache.core.errors import AlreadyExists, Unauthenticated, UserError
from kubectl_imagecache.core.pools import DiskImage, DiskState
from kubectl_imagecache.core.views import Gap
from kubectl_imagecache.usecases.stored_record import forget

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 2.0
"""Between two looks at an operation; each wait is half as long again as the one before."""
SIDE_BY_SIDE = 8
ClassesOf = Callable[[ClusterSummary], list[DiskImageUse]]
"""The ComputeClasses of one cluster; raises UserError where they can't be read."""
Tell = Callable[[GcDecision, str], None]
"""Takes a decision and what has come of it: `deprecated`, `restored`, `deleted`, or what stays and why."""


@dataclass(frozen=True, slots=True)
class Users:
    """Everything in reach that uses disk images."""

    uses: tuple[DiskImageUse, ...]
    gaps: tuple[Gap, ...]
    """What could not be read."""


def users(gke: Gke, projects: Sequence[DiskImages], classes_of: ClassesOf) -> Users:
    """Who uses disk images in PROJECTS: all clusters' pools and ComputeClasses, instance templates, disks.

    What can't be read is a gap; raises Unauthenticated.
    """
    uses: list[DiskImageUse] = []
    gaps: list[Gap] = []
    clusters: list[ClusterSummary] = []
    for images in projects:
        try:
            found, missing = gke.everything(images.project)
        except Unauthenticated:
            raise
        except UserError as error:
            gaps.append(Gap(f"GKE clusters of project {images.project}", error.message, error.hint))
            continue
        gaps += [
            Gap(f"GKE clusters in {zone} of {images.project}", "GKE does not reach the zone now") for zone in missing
        ]
        clusters += [cluster.target for cluster in found]
        uses += [use for cluster in found for use in _of_pools(cluster)]
    reads: list[tuple[str, Callable[[], Iterable[DiskImageUse]]]] = []
    for images in projects:
        reads.append((f"disks of project {images.project}", images.disks))
        reads.append((f"instance templates of project {images.project}", images.templates))
    for cluster in clusters:
        reads.append((f"ComputeClasses of cluster {cluster}", partial(classes_of, cluster)))
    with ThreadPoolExecutor(SIDE_BY_SIDE, "users") as threads:
        for (what, _), answer in zip(reads, threads.map(lambda read: _read(read[1]), reads), strict=True):
            if isinstance(answer, UserError):
                gaps.append(Gap(what, answer.message, answer.hint))
            else:
                uses += answer
    return Users(tuple(uses), tuple(gaps))


def _of_pools(cluster: ClusterDocument) -> list[DiskImageUse]:
    return [
        DiskImageUse(disk.image, UserKind.POOL, f"{cluster.target.name}/{pool.name}")
        for pool in cluster.pools
        for disk in pool.disks
    ]


def _read(read: Callable[[], Iterable[DiskImageUse]]) -> list[DiskImageUse] | UserError:
    try:
        return list(read())
    except Unauthenticated:
        raise
    except UserError as error:
        return error


def act(images: DiskImages, decisions: Sequence[GcDecision], clock: Clock, tell: Tell) -> int:
    """Do what DECISIONS say, one disk image after the other; how many were left because they had changed meanwhile.

    Each step can be done again, so that a run that was cut off is ended by another. Raises what DiskImages raises.
    """
    left = 0
    instead = replacements(decisions)
    for decision in decisions:
        image = decision.image
        try:
            if decision.action is GcAction.DEPRECATE:
                # The time first: what is deprecated without one would begin its grace anew.
                _finish(images, images.stamp(image, clock.now()), clock)
                if image.state is DiskState.READY:
                    _finish(images, images.deprecate(image.ref, instead.get(image.family)), clock)
                tell(decision, "deprecated")
            elif decision.action is GcAction.RESTORE:
                _finish(images, images.restore(image.ref), clock)
                _finish(images, images.stamp(_active(image), None), clock)
                tell(decision, "restored")
            elif decision.action is GcAction.DELETE:
                _delete(images, decision, clock, tell)
        except AlreadyExists as error:
            left += 1
            tell(decision, f"left: {error.message}")
    return left


def _delete(images: DiskImages, decision: GcDecision, clock: Clock, tell: Tell) -> None:
    image, link = decision.image, decision.record
    images.unchanged(image)
    if link is not None:
        # First: without the disk image, nothing would tell a second run where its record lies.
        gone = forget(images.compute.storage(), link)
        if gone.stays:
            tell(decision, f"its record {link.url} stays: {gone.stays}")
        elif gone.deleted:
            tell(decision, f"deleted its record {link.url}")
    _finish(images, images.delete(image), clock)
    tell(decision, "deleted")


def _active(image: DiskImage) -> DiskImage:
    return replace(image, state=DiskState.READY)


def _finish(images: DiskImages, operation: Operation | None, clock: Clock) -> None:
    wait_s = FIRST_WAIT_S
    while operation is not None and not operation.done:
        clock.sleep(wait_s)
        wait_s = min(wait_s * 1.5, LONGEST_WAIT_S)
        operation = images.compute.operation(operation)
    if operation is not None and operation.code:
        raise UserError(f"Compute: {operation.message or operation.code}", "run it again: it goes on")
