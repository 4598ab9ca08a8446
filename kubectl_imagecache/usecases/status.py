"""Compare what runs in a cluster with what its node pools' cache disks hold."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.compare import Known, compare, needs_registry
from kubectl_imagecache.core.contents import CachedImage, Contents, ImageFacts, short_digest
from kubectl_imagecache.core.coverage import cold_start, coverage, measured_pulls
from kubectl_imagecache.core.demand import Demand
from kubectl_imagecache.core.errors import NotFound, UserError
from kubectl_imagecache.core.placement import place, shape_of
from kubectl_imagecache.core.pools import DiskImageRef, DiskMode, NodeFacts, Pool, SecondaryDisk
from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.core.report import Policy, PoolStatus, StatusReport
from kubectl_imagecache.core.suggest import suggest
from kubectl_imagecache.core.verdict import demand_reasons, disk_reasons, image_reasons, pool_reasons, verdict
from kubectl_imagecache.core.views import CloudView, Gap, KubeView

Lookup = Callable[[Sequence[tuple[ImageRef, str]]], Mapping[tuple[ImageRef, str], ImageFacts | UserError]]
"""Asks registries for (reference, platform) pairs, side by side."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a status comes from: a live cluster, a sandbox or files."""

    kube: Callable[[], KubeView]
    cloud: Callable[[], CloudView]
    """The cluster's pools, the disk images they name and the newest of their families."""
    disk_images: Callable[[Iterable[DiskImageRef]], CloudView]
    """Disk images that only nodes name."""
    registry: Lookup | None
    """None: registries are not to be asked."""
    clock: Clock
    cluster: Callable[[], str]
    """`projects/P/locations/L/clusters/C`, or what else is known; asked after the cloud was read."""
    context: str
    source: str = "live"


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked."""

    pools: tuple[str, ...] = ()
    """Names; empty is all."""
    layers: bool = False
    """Compare layer by layer, which asks the registries for every image."""
    policy: Policy = field(default_factory=Policy)


def status(sources: Sources, options: Options, say: Callable[[str], None]) -> StatusReport:
    """Observe everything side by side, then decide pool by pool; SAY takes lines of progress.

    Raises NotFound for a pool that doesn't exist, and what reading the cluster raises.
    """
    say("reading nodes, pods and node pools")
    with ThreadPoolExecutor(2, "observe") as executor:
        reading_cloud = executor.submit(sources.cloud)
        kube = sources.kube()
        cloud = reading_cloud.result()
    cloud = _with_nodes_disks(cloud, kube, sources)
    pools = _chosen(_pools(cloud, kube), options.pools)
    shapes = (*kube.shapes, *(shape_of(pool) for pool in pools if not any(n.pool == pool.name for n in kube.nodes)))
    demands = place(kube.demands, kube.unplaced, shapes)
    digests = _full_digests(kube, demands)
    contents = {pool.name: _contents(pool, cloud, digests) for pool in pools}
    wanted = _to_look_up(pools, demands, contents, options.layers)
    known, registry_gaps = _look_up(wanted, sources.registry, kube, say)
    decided = tuple(
        _decide(
            pool, kube, cloud, demands.get(pool.name, Demand(pool.name)), contents[pool.name], known, options.policy
        )
        for pool in pools
    )
    gaps = (*kube.gaps, *cloud.gaps, *_mismatch(cloud, kube), *registry_gaps)
    cluster = sources.cluster() or next((pool.cluster for pool in pools), "")
    return StatusReport(cluster, sources.context, sources.clock.now(), decided, gaps, sources.source)


def _decide(
    pool: Pool,
    kube: KubeView,
    cloud: CloudView,
    demand: Demand,
    contents: Contents | None,
    known: Known,
    policy: Policy,
) -> PoolStatus:
    nodes = [node for node in kube.nodes if node.pool == pool.name]
    demand_known = not any(gap.what == "pods" for gap in kube.gaps)
    reasons = [*pool_reasons(pool, nodes), *demand_reasons(pool, demand_known)]
    for disk in pool.cache_disks:
        reasons += disk_reasons(disk, cloud.disk_images.get(disk.image), cloud.newest, pool, nodes)
    matches, unused = compare(demand, contents, known, policy)
    if demand_known:
        reasons += image_reasons(matches, unused)
    covered = coverage(matches)
    found = verdict(pool, reasons, covered, policy)
    measured = measured_pulls(kube.pulls, {node.name: node.pool for node in nodes}, pool.name)
    first = next(iter(pool.cache_disks or pool.disks), None)
    return PoolStatus(
        pool,
        len(nodes),
        found,
        cloud.disk_images.get(first.image) if first else None,
        contents,
        matches,
        unused if demand_known else (),
        covered,
        cold_start(matches, len(nodes), measured, policy.rate),
        suggest(pool, found, matches, unused, known),
    )


def _pools(cloud: CloudView, kube: KubeView) -> list[Pool]:
    """GKE's pools, and those that only nodes tell of."""
    pools = {pool.name: pool for pool in cloud.pools or ()}
    by_pool: dict[str, list[NodeFacts]] = {}
    for node in kube.nodes:
        if node.pool and node.pool not in pools:
            by_pool.setdefault(node.pool, []).append(node)
    for name, nodes in by_pool.items():
        disks = sorted({disk for node in nodes for disk in node.cache_disks})
        pools[name] = Pool(
            name,
            tuple(SecondaryDisk(disk, DiskMode.CACHE) for disk in disks),
            image_streaming=any(node.image_streaming for node in nodes),
            arch=nodes[0].arch,
            known_from="nodes",
        )
    return [pools[name] for name in sorted(pools)]


def _chosen(pools: list[Pool], names: Sequence[str]) -> list[Pool]:
    by_name = {pool.name: pool for pool in pools}
    for name in names:
        if name not in by_name:
            nearest = difflib.get_close_matches(name, by_name, 1)
            all_names = ", ".join(by_name) or "none at all"
            raise NotFound(
                f"no node pool {name!r} in this cluster",
                f"did you mean {nearest[0]}?" if nearest else f"the cluster has {all_names}",
            )
    return [by_name[name] for name in dict.fromkeys(names)] if names else pools


def _with_nodes_disks(cloud: CloudView, kube: KubeView, sources: Sources) -> CloudView:
    """CLOUD with the disk images that only nodes name, as when GKE could not be asked."""
    named = {disk for node in kube.nodes for disk in node.cache_disks}
    if cloud.pools is not None:
        # Nodes of known pools may still carry a disk image of the past: the pool's is the one that counts.
        known = {pool.name for pool in cloud.pools}
        named = {disk for node in kube.nodes if node.pool not in known for disk in node.cache_disks}
    missing = sorted(named - set(cloud.disk_images))
    if not missing:
        return cloud
    more = sources.disk_images(missing)
    return CloudView(
        cloud.pools,
        {**cloud.disk_images, **more.disk_images},
        {**cloud.newest, **more.newest},
        tuple(dict.fromkeys((*cloud.gaps, *more.gaps))),
    )


def _mismatch(cloud: CloudView, kube: KubeView) -> tuple[Gap, ...]:
    names = {node.pool for node in kube.nodes if node.pool}
    if not cloud.pools or not names or names & {pool.name for pool in cloud.pools}:
        return ()
    return (
        Gap(
            "the match of context and GKE cluster",
            "no node belongs to a pool of the GKE cluster that was read",
            "check --context against --project, --location and --cluster-name",
        ),
    )


def _full_digests(kube: KubeView, demands: Mapping[str, Demand]) -> dict[str, str]:
    """Full digests that the cluster has shown, by their 128-bit prefix."""
    seen = [digest for digest in kube.sizes if digest.startswith("sha256:")]
    seen += [digest for demand in demands.values() for use in demand.uses for digest in (use.digest, use.ref.digest)]
    return {short_digest(digest): digest for digest in seen if digest}


def _contents(pool: Pool, cloud: CloudView, digests: Mapping[str, str]) -> Contents | None:
    """What all the pool's cache disks hold together; None as soon as one is unknown, or without a cache disk."""
    images: list[CachedImage] = []
    parts: list[Contents] = []
    for disk in pool.cache_disks:
        image = cloud.disk_images.get(disk.image)
        if image is None or not isinstance(image.contents, Contents):
            return None
        parts.append(image.contents)
        images += [replace(i, digest=digests.get(i.digest, i.digest)) for i in image.contents.images]
    if not parts:
        return None
    return replace(parts[0], images=tuple(images), complete=all(part.complete for part in parts))


def _to_look_up(
    pools: Sequence[Pool], demands: Mapping[str, Demand], contents: Mapping[str, Contents | None], layers: bool
) -> list[tuple[ImageRef, str]]:
    """(reference, platform) pairs of which the registry should be asked, each once."""
    wanted: dict[tuple[ImageRef, str], None] = {}
    for pool in pools:
        platform = f"linux/{pool.arch or 'amd64'}"
        held = contents[pool.name]
        for use in demands.get(pool.name, Demand(pool.name)).uses:
            if layers or (held is not None and needs_registry(use, held)):
                wanted[use.ref.at(use.digest or use.ref.digest), platform] = None
        for image in held.images if layers and held is not None else ():
            full = image.digest if image.digest != short_digest(image.digest) else ""
            if not image.layers and (full or image.ref.tag):
                wanted[image.ref.at(full), image.platform or platform] = None
    return list(wanted)


def _look_up(
    wanted: Sequence[tuple[ImageRef, str]], registry: Lookup | None, kube: KubeView, say: Callable[[str], None]
) -> tuple[Known, tuple[Gap, ...]]:
    if not wanted or registry is None:
        return Known({}, kube.sizes), ()
    say(f"asking registries about {len(wanted)} container image{'' if len(wanted) == 1 else 's'}")
    answers = dict(registry(wanted))
    # A digest that is a config's, or is gone from the registry, may still be what the tag means.
    again = [
        (replace(ref, digest=""), platform)
        for (ref, platform), answer in answers.items()
        if isinstance(answer, NotFound) and ref.digest and ref.tag
    ]
    answers.update(registry(again) if again else {})
    facts: dict[str, ImageFacts] = {}
    failed: dict[str, list[str]] = {}
    for (ref, _), answer in answers.items():
        if isinstance(answer, UserError):
            failed.setdefault(answer.message, []).append(ref.familiar)
            continue
        for digest in answer.digests:
            facts[digest] = answer
            facts.setdefault(short_digest(digest), answer)
        if not ref.digest:
            facts[str(ref)] = answer
    return Known(facts, kube.sizes), tuple(
        Gap("container images " + ", ".join(refs), why) for why, refs in failed.items()
    )
