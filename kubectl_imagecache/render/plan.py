"""The answer of `rebuild --dry-run`: what the new disk image will hold, what is made for it and what it costs."""

from __future__ import annotations

from collections.abc import Iterable

from kubectl_imagecache.core.plan import AbsentImage, BuildPlan, Change, PlannedImage
from kubectl_imagecache.core.plan_json import document_of
from kubectl_imagecache.core.prices import cost
from kubectl_imagecache.render.names import namer
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.table import Cell, Column, Table, cell, number
from kubectl_imagecache.render.text import count, duration, gib, hexes, mib_per_s, neutral, wrapped
from kubectl_imagecache.render.view import View

_COLUMNS = (
    Column("CHANGE", "change"),
    Column("IMAGE", "image", least=20, keep_end=True),
    Column("DIGEST", "digest", drop=2),
    Column("WAS", "was", wide=True),
    Column("SIZE", "compressed_bytes", right=True),
    Column("NODES", "cold_starts", right=True, drop=1),
    Column("SAVES", "saved_s", right=True),
    Column("WHY", "why", wide=True),
)
_STYLES = {Change.NEW: "good", Change.MOVED: "warn", Change.DROPPED: "dim", Change.LEFT_OUT: "bad", Change.KEPT: ""}


def plan_view(plan: BuildPlan, warnings: Iterable[str] = ()) -> View:
    """PLAN in every form; WARNINGS go under the table."""
    name = namer([*(i.ref for i in plan.images), *(a.ref for a in plan.absent)])
    warned = tuple(warnings)
    rows = [_present(i, name(i.ref), plan.rate) for i in plan.images] + [_absent(a, name(a.ref)) for a in plan.absent]
    return View(
        document=document_of(plan),
        items="images",
        table=Table(_COLUMNS, tuple(rows)),
        names=(f"diskimage/{plan.output.ref.name}",),
        notes=lambda screen: _notes(plan, warned, screen),
        empty="Nothing to put on the disk.",
    )


def _present(image: PlannedImage, name: str, rate: float) -> tuple[Cell, ...]:
    size = image.compressed
    return (
        Cell(image.change.name, image.change.value, _STYLES[image.change]),
        Cell(name, str(image.ref)),
        Cell(hexes(image.digest), image.digest),
        Cell(hexes(image.was), image.was),
        Cell("-" if size is None else gib(size), size),
        number(image.cold_starts),
        Cell("-" if size is None else f"{size / rate:.0f}s", None if size is None else round(size / rate, 1)),
        cell(""),
    )


def _absent(image: AbsentImage, name: str) -> tuple[Cell, ...]:
    return (
        Cell(image.change.name.replace("_", " "), image.change.value, _STYLES[image.change]),
        Cell(name, str(image.ref)),
        Cell(hexes(image.digest), image.digest),
        Cell("-", ""),
        Cell("-" if image.compressed is None else gib(image.compressed), image.compressed),
        Cell("-", None),
        Cell("-", None),
        cell(image.why),
    )


def _notes(plan: BuildPlan, warnings: tuple[str, ...], screen: Screen) -> list[str]:
    vm, prices = plan.vm, plan.prices
    estimate = cost(prices, compressed=plan.compressed, rate=plan.rate, disk_gb=plan.disk_size_gb, nodes=plan.nodes)
    family = f" in the family {plan.output.family}" if plan.output.family else ""
    known = all(layer.unpacked is not None for layer in plan.layers.values())
    lines = [
        f"Disk image {plan.output.ref.name}{family} in {vm.project}: {plan.disk_size_gb} GiB, {plan.arch},"
        f" {count(len(plan.images), 'image')} in {count(len(plan.layers), 'layer')}"
        f" ({gib(plan.compressed)} to pull{'' if known else '; unpacked sizes are estimated'}).",
        f"Saves {duration(plan.seconds_saved)} of pulls on a node that runs them all (estimated at"
        f" {mib_per_s(plan.rate)}, --rate).",
        f"To be made for a while: the VM {plan.build} ({vm.machine_type}{', spot' if vm.spot else ''}) in {vm.zone},"
        f" its boot disk (10 GiB), the disk {plan.build}-cache ({plan.disk_size_gb} GiB {vm.disk_type});"
        f" {'an' if vm.external_ip else 'no'} external IP; gone after {duration(vm.timeout_s)} at the latest.",
        f"Costs about ${estimate.build:.2f} once and ${estimate.image_month:.2f} a month for the disk image"
        + (f", ${estimate.nodes_month:.2f} a month for {count(plan.nodes, 'node')}" if plan.nodes else "")
        + f" (at stated prices: {dollars(prices.vm_hour)} an hour; {dollars(prices.disk_gib_month)},"
        f" {dollars(prices.image_gib_month)} and {dollars(prices.node_disk_gib_month)} a GiB and month for build disk,"
        " disk image and node disk; --price).",
        f"Plan {plan.hash[:12]}.",
        *(f"Note: {warning}." for warning in warnings),
    ]
    return ["", *(part for line in lines for part in wrapped(neutral(line), "", "  ", screen.cells))]


def dollars(price: float) -> str:
    """A price as people write it: $0.10, $0.134."""
    return f"${price:.2f}" if price == round(price, 2) else f"${price:g}"
