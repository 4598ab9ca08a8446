"""Find what builds have made in a project, and sweep away what is orphaned."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from kubectl_imagecache.clients.compute_build import BuildCompute
from kubectl_imagecache.core.build import ImageState
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.errors import NotFound
from kubectl_imagecache.core.record import own_link
from kubectl_imagecache.core.traces import Kind, Trace
from kubectl_imagecache.usecases.patience import Tell
from kubectl_imagecache.usecases.rebuild import abort

_OURS = re.compile(r"imagecache-[0-9a-f]{12}")


def traces(compute: BuildCompute) -> list[Trace]:
    """Every resource with a build's label, by build; raises NotPermitted, Unauthenticated, Unavailable."""
    with ThreadPoolExecutor(3, "traces") as threads:
        reading = threads.submit(compute.vms), threads.submit(compute.disks)
        images = compute.images("imagecache-build")
        vms, disks = reading[0].result(), reading[1].result()
    found = [Trace(Kind.VM, vm.name, vm.build, vm.state.value, False, vm.zone, _time(vm.created)) for vm in vms]
    found += [
        Trace(Kind.DISK, d.name, d.build, "in use" if d.used else "unused", False, d.zone, _time(d.created))
        for d in disks
    ]
    for image in images:
        lasting, created = image.state is ImageState.READY, _time(image.created)
        found.append(Trace(Kind.IMAGE, image.name, image.build, image.state.value, lasting, "", created))
        if link := own_link(image.name, image.description):
            found.append(Trace(Kind.RECORD, link.url, image.build, f"of {image.name}", lasting, "", created))
    return sorted(found, key=lambda trace: (trace.build, trace.kind.value, trace.name))


def sweep(compute: BuildCompute, builds: list[str], clock: Clock, tell: Tell) -> list[str]:
    """Remove what BUILDS have left, and return what was removed; a build that is gone meanwhile is no error.

    Only builds named by our rule are touched, whatever a label says.
    """
    removed: list[str] = []
    for build in builds:
        if not _OURS.fullmatch(build):
            tell("left", {"what": build, "why": "not a name that builds have"})
            continue
        try:
            removed += abort(compute, build, clock, tell)
        except NotFound:
            continue
    return removed


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
    except ValueError:
        return None
