from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from kubectl_imagecache.core.bench import BenchNode, BenchPlan, Sample
from kubectl_imagecache.core.bench_cost import BenchCost
from kubectl_imagecache.core.bench_pools import PoolFacts
from kubectl_imagecache.core.bench_report import BenchReport, report
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.probe import Found, Outcome
from kubectl_imagecache.core.pull_methods import Method, Sureness
from kubectl_imagecache.core.pull_report import Origin
from kubectl_imagecache.render.bench import bench_view, facts_line
from kubectl_imagecache.render.bench_plan import plan_lines, sweep_lines
from kubectl_imagecache.render.output import write
from kubectl_imagecache.render.screen import Screen

ORIGIN = Origin("c", "ctx", "live", datetime(2026, 1, 15, tzinfo=timezone.utc))
PLAN = BenchPlan("docker.io/library/nginx:1", ("plain", "disk"), nodes=2)
PLAIN = PoolFacts("plain", "n2-standard-8", "pd-balanced", 100, 0, ("z-a",), streaming=False)
DISK = replace(PLAIN, name="disk", disk_gb=200, cache_disk="projects/p/global/images/models-1", streaming=True)


def pull(pool: str, attempt: int, seconds: float, method: Method, failures: int = 0, kin: bool = False) -> Sample:
    outcome = Outcome(Found.PULLED, f"{pool}-{attempt}", seconds, 0.0, None, 5.0, method, Sureness.OBSERVED, failures)
    return Sample(pool, attempt, outcome, kin)


def notes(*samples: Sample, ended: str = "", having: tuple[BenchNode, ...] = (), plan: BenchPlan = PLAN) -> list[str]:
    found = report(ORIGIN, plan, "lab", "0a1b2c", (PLAIN, DISK), samples, ended=ended, having=having)
    return [line.removeprefix("  - ") for line in bench_view(found).notes(Screen()) if line.startswith("  - ")]


def both() -> BenchReport:
    samples = (pull("plain", 0, 50, Method.REGISTRY), pull("disk", 0, 0.5, Method.CACHE_DISK))
    return report(ORIGIN, PLAN, "lab", "0a1b2c", (PLAIN, DISK), samples)


def test_times_are_put_side_by_side_and_so_is_what_spoils_the_comparison() -> None:
    lines = notes(pull("plain", 0, 50, Method.REGISTRY), pull("disk", 0, 0.5, Method.CACHE_DISK))
    assert lines[:2] == [
        "disk, first pull: 0.50s, 100x as fast as the 50.0s on plain.",
        "The pools differ in more than the way: boot disk size: plain has 100 GB, disk has 200 GB.",
    ]


def test_a_way_that_is_slower_is_said_to_be() -> None:
    lines = notes(pull("plain", 0, 10, Method.REGISTRY), pull("disk", 0, 25, Method.STREAMING))
    assert lines[0] == "disk, first pull: 25.0s, 2.5x the 10.0s on plain."


def test_what_was_not_measured_is_said_with_its_reason() -> None:
    lines = notes(
        Sample("plain", 0, Outcome(Found.PRESENT, "n1")),
        Sample("plain", 1, Outcome(Found.FAILED, "n2", why="no space left\x1b[31m")),
        pull("disk", 0, 1, Method.CACHE_DISK, failures=1, kin=True),
        having=(BenchNode("n3", "plain", has_image=True),),
        ended="interrupted",
    )
    assert lines[: lines.index(facts_line(PLAIN))] == [
        "No pool pulled from the registry, so there is nothing that times are the ratio to.",
        "The pools differ in more than the way: boot disk size: plain has 100 GB, disk has 200 GB.",
        "The bench ended early: interrupted.",
        "plain: 2 nodes (n3, n1) had the image already: skipped, and not counted as a pull.",
        "plain: n2: no space left\\x1b[31m.",
        "disk: 1 of its nodes had another image of the repository, so common layers too.",
        "disk: 1 pull came after failures; the time is the last try's.",
    ]


def test_too_few_nodes_are_said_with_what_would_bring_more() -> None:
    few = "plain: 1 of 2 pulls; it would take 1 more fresh node"
    assert f"{few}; --scale-up lets the autoscaler bring some." in notes(pull("plain", 0, 50, Method.REGISTRY))
    assert f"{few}." in notes(pull("plain", 0, 50, Method.REGISTRY), plan=replace(PLAN, scale_up=True))


def test_raw_values_are_in_csv() -> None:
    assert write(bench_view(both()), "csv", Screen()) == (
        "pool,method,pulls,first_s,later_s,spread_s,ratio,running_first_s,running_later_s,bytes\n"
        "plain,registry,1,50.0,,,1.0,5.0,,\n"
        "disk,cache disk,1,0.5,,,100.0,5.0,,\n"
    )


def test_facts_are_one_line_and_unknown_ones_are_called_so() -> None:
    assert facts_line(replace(DISK, parallel_pulls=4, local_ssds=2, version="1.33")) == (
        "disk: n2-standard-8, pd-balanced 200 GB, images on 2 local SSDs, z-a, 4 parallel pulls, 1.33, "
        "cache disk models-1"
    )
    assert facts_line(PoolFacts("x", known_from="nodes")) == (
        "x: machine type unknown, boot disk unknown, zone unknown, way unknown"
    )


def test_a_plan_says_what_it_makes_what_that_costs_and_what_it_takes_away() -> None:
    plan = replace(PLAN, pools=(), make_pools=True, like="plain", disk_image=DiskImageRef("p", "models-1"), repeat=2)
    assert plan_lines(plan, "lab", (PLAIN,), (), BenchCost(3, 12, 0.75, 4.5), None) == [
        "pulls docker.io/library/nginx:1 on 2 fresh nodes of each pool that it makes in each of 2 rounds",
        "  copies of plain: n2-standard-8, pd-balanced 100 GB, z-a, GKE's default parallel pulls, registry only",
        "creates three node pools: registry only, image streaming, cache disk models-1; and deletes them afterwards",
        "  12 nodes for about 0.8 hours, some $4.50 at list prices of CPUs, memory and disks (GPUs come on top)",
        "makes one small pod at a time in the namespace lab, and removes each",
    ]


def test_a_plan_says_which_nodes_may_be_fresh() -> None:
    nodes = (BenchNode("a", "plain"), BenchNode("b", "plain", has_image=True), BenchNode("c", "plain", usable=False))
    lines = plan_lines(replace(PLAN, scale_up=True), "lab", (PLAIN,), nodes, None, None)
    assert (
        lines[2] == "    3 nodes, 1 that may be fresh, 1 with the image, skipped, the autoscaler is to bring the rest"
    )


def test_a_sweep_says_what_it_takes_and_what_it_leaves() -> None:
    assert sweep_lines(["0a1b2c"], ["ffffff (bob@laptop/7)"], "lab") == [
        "removes the pods, pools and owner of the bench 0a1b2c",
        "leaves alone the bench ffffff (bob@laptop/7), which is worked on",
    ]
    assert sweep_lines([], [], "lab") == ["nothing is left of any bench in the namespace lab"]
