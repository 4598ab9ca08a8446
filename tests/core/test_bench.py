from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.bench import (
    PINNED,
    BenchNode,
    BenchPlan,
    BenchView,
    CreatePool,
    Finish,
    GiveUp,
    MadePool,
    Record,
    Remove,
    Sample,
    Seen,
    Start,
    Step,
    Wait,
    counted,
    decide,
    fresh_nodes,
    given_up,
    held,
    over,
    probe_name,
    same_wish,
    slot_of,
    turn,
)
from kubectl_imagecache.core.probe import Found, Outcome, Probe
from kubectl_imagecache.core.pull_methods import Method, Sureness, Turn
from kubectl_imagecache.core.references import parse

NOW = datetime(2026, 1, 15, 9, 0, tzinfo=timezone.utc)
PLAN = BenchPlan("docker.io/library/nginx:1", ("a", "b"))
PULLED = Outcome(
    Found.PULLED, "a-1", 40.0, 0.0, 100, 41.0, Method.REGISTRY, Sureness.OBSERVED, ended=NOW.timestamp() - 1
)


def nodes(*names: str, usable: bool = True, has_image: bool = False, has_kin: bool = False) -> tuple[BenchNode, ...]:
    return tuple(BenchNode(name, name.partition("-")[0], usable, has_image, has_kin) for name in names)


def probe(pool: int = 0, attempt: int = 0, node: str = "a-1", pinned: bool = True) -> Probe:
    name = probe_name("r1", pool, attempt)
    notes = {PINNED: node or "a-1"} if pinned else {}
    return Probe(name, "lab", f"u-{name}", "r1", node, PLAN.image, annotations=notes)


def seen(outcome: Outcome, one: Probe | None = None, age_s: float = 10, over_s: float = 1) -> tuple[Seen, ...]:
    return (Seen(one or probe(), outcome, age_s, over_s),)


def sample(pool: str = "a", attempt: int = 0, found: Found = Found.PULLED, node: str = "a-1") -> Sample:
    return Sample(pool, attempt, replace(PULLED, found=found, node=node))


def step(plan: BenchPlan = PLAN, **view: object) -> Step:
    return decide(plan, "r1", BenchView(**view))  # type: ignore[arg-type] # the factory of a test


FOUR = nodes("a-1", "a-2", "b-1", "b-2")


def test_pools_take_turns_each_on_a_fresh_node() -> None:
    assert step(nodes=FOUR) == Start("a", 0, "a-1")
    one = (sample(),)
    assert step(nodes=FOUR, samples=one) == Start("b", 0, "b-1")
    two = (*one, sample("b", 0, node="b-1"))
    assert step(nodes=FOUR, samples=two) == Start("a", 1, "a-2")


def test_a_pull_is_written_down_before_its_pod_goes() -> None:
    mine = probe()
    assert step(nodes=FOUR, probes=seen(PULLED, mine)) == Record(Sample("a", 0, PULLED))
    assert step(nodes=FOUR, probes=seen(PULLED, mine), samples=(sample(),)) == Remove(mine)
    leaving = replace(mine, leaving=True)
    assert isinstance(step(nodes=FOUR, probes=seen(PULLED, leaving), samples=(sample(),)), Wait)


def test_nothing_is_begun_while_a_pull_runs() -> None:
    waiting = Outcome(Found.WAITING, "a-1")
    assert step(nodes=FOUR, probes=seen(waiting)) == Wait("a: pulling on a-1", 1.25)


def test_a_node_that_has_the_image_is_no_fresh_one_and_relatives_come_last() -> None:
    mixed = (*nodes("a-1", has_image=True), *nodes("a-2", has_kin=True), *nodes("a-3"), *nodes("a-4", usable=False))
    view = BenchView(mixed, samples=(sample(node="a-9"),))
    assert [node.name for node in fresh_nodes(PLAN, view, "a")] == ["a-3", "a-2"]


def test_an_image_that_was_there_is_not_counted_and_another_node_is_taken() -> None:
    there = (sample(found=Found.PRESENT), sample("b", node="b-1"))
    assert counted(there, "a") == []
    assert step(nodes=FOUR, samples=there) == Start("a", 1, "a-2")


def test_without_fresh_nodes_a_pool_is_over_unless_the_autoscaler_may_bring_some() -> None:
    one_each = nodes("a-1", "b-1")
    done = (sample(), sample("b", node="b-1"))
    assert step(nodes=one_each, samples=done) == Finish()
    assert step(replace(PLAN, scale_up=True), nodes=one_each, samples=done) == Start("a", 1, "", ("a-1",))


def test_rounds_are_further_fresh_nodes_and_only_the_very_first_pull_is_a_first() -> None:
    plan = replace(PLAN, pools=("a",), nodes=1, repeat=3)
    three = tuple(sample("a", n, node=f"a-{n}") for n in range(3))
    assert not over(plan, BenchView(nodes("a-9"), samples=three[:2]), "a")
    assert over(plan, BenchView(nodes("a-9"), samples=three), "a")
    assert [turn(three, one) for one in three] == [Turn.FIRST, Turn.LATER, Turn.LATER]


def test_a_first_pull_is_the_first_that_counts() -> None:
    samples = (sample(found=Found.PRESENT), sample(attempt=1))
    assert turn(samples, samples[1]) is Turn.FIRST


def test_a_pinned_probe_does_not_wait_for_room_for_long() -> None:
    unplaced = Outcome(Found.UNPLACED, why="Insufficient cpu")
    waiting = probe(node="")
    assert isinstance(step(nodes=FOUR, probes=seen(unplaced, waiting, 80)), Wait)
    found = step(nodes=FOUR, probes=seen(unplaced, waiting, 100))
    why = "nothing came of it in 90 s: Insufficient cpu"
    assert found == Record(Sample("a", 0, Outcome(Found.UNPLACED, "a-1", why=why)))
    assert isinstance(found, Record)
    # The node is left out then, and another one taken.
    assert step(nodes=FOUR, samples=(found.sample, sample("b", node="b-1"))) == Start("a", 1, "a-2")


def test_a_node_that_the_autoscaler_never_brings_gives_the_pool_up() -> None:
    plan = replace(PLAN, pools=("a",), scale_up=True)
    unplaced = Outcome(Found.UNPLACED, why="no node")
    waiting = probe(node="", pinned=False)
    assert isinstance(step(plan, probes=seen(unplaced, waiting, 100)), Wait)
    found = step(plan, probes=seen(unplaced, waiting, 1801))
    assert isinstance(found, Record)
    assert given_up(plan, (found.sample,), "a") == "nothing came of it in 1800 s: no node"
    assert step(plan, samples=(found.sample,)) == Finish()


def test_a_pull_that_outlasts_the_timeout_is_given_up_and_twice_is_enough() -> None:
    waiting = Outcome(Found.WAITING, "a-1")
    found = step(nodes=FOUR, probes=seen(waiting, age_s=1801))
    why = "nothing came of it in 1800 s: it is still being pulled"
    assert found == Record(Sample("a", 0, Outcome(Found.FAILED, "a-1", why=why)))
    failed = tuple(sample("a", n, Found.FAILED) for n in range(2))
    assert step(nodes=FOUR, samples=failed) == Start("b", 0, "b-1")


def test_a_pull_is_settled_once_its_container_started_and_its_way_is_told() -> None:
    for early in (replace(PULLED, running_s=None), replace(PULLED, sure=Sureness.INFERRED)):
        assert isinstance(step(nodes=FOUR, probes=seen(early)), Wait)
        assert isinstance(step(nodes=FOUR, probes=seen(early, over_s=31)), Record)
    inferred = replace(PULLED, sure=Sureness.INFERRED)
    assert isinstance(step(nodes=FOUR, probes=seen(inferred, over_s=3)), Record)


def test_a_pod_that_is_none_of_the_plans_goes() -> None:
    stray = replace(probe(), name="imagecache-bench-r1-7-0")
    assert step(nodes=FOUR, probes=seen(PULLED, stray)) == Remove(stray)


MADE = replace(PLAN, make_pools=True)


def test_pools_are_made_one_by_one_and_waited_for() -> None:
    assert step(MADE) == CreatePool("a")
    running = MadePool("a", "RUNNING")
    assert step(MADE, made=(replace(running, status="PROVISIONING"),)) == Wait("pool a is provisioning", 5.0)
    assert step(MADE, made=(running,)) == CreatePool("b")
    both = (running, MadePool("b", "RUNNING"))
    assert step(MADE, made=both, nodes=nodes("a-1", "b-1", "b-2")) == Wait("nodes of a are not Ready yet", 5.0)
    assert step(MADE, made=both, nodes=FOUR) == Start("a", 0, "a-1")


def test_a_pool_that_fails_ends_the_bench_with_gkes_words() -> None:
    found = step(MADE, made=(MadePool("a", "ERROR", "no CPUs left"),))
    assert found == GiveUp("pool a is in ERROR: no CPUs left", "take another --like or --disk-image")


def test_all_measured_no_pool_is_made_again() -> None:
    samples = tuple(sample(p, n, node=f"{p}-{n}") for p in "ab" for n in range(2))
    assert step(MADE, samples=samples) == Finish()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["docker.io/library/nginx:1"], (True, False)),
        (["nginx:1", "nginx:2"], (True, False)),
        (["docker.io/library/nginx@sha256:" + "a" * 64], (False, True)),
        (["nginx:2"], (False, True)),
        (["redis:1", "<none>:<none>", "UPPER"], (False, False)),
        ([], (False, False)),
    ],
)
def test_a_nodes_images_tell_of_the_image_and_its_kin(names: list[str], expected: tuple[bool, bool]) -> None:
    assert held(names, parse("nginx:1")) == expected


def test_a_digest_is_had_under_any_name() -> None:
    name = "docker.io/library/nginx@sha256:" + "a" * 64
    assert held([name], parse(name)) == (True, False)
    assert held(["nginx:1"], parse(name)) == (False, True)


@given(st.from_regex(r"[0-9a-f]{6}", fullmatch=True), st.integers(0, 50), st.integers(0, 500))
def test_a_probes_name_tells_its_slot(run: str, pool: int, attempt: int) -> None:
    name = probe_name(run, pool, attempt)
    assert slot_of(name, run) == (pool, attempt)
    assert len(name) <= 63
    assert slot_of(f"x{name}", run) is None


def test_names_of_made_pools_are_no_part_of_the_wish() -> None:
    assert same_wish(MADE, replace(MADE, pools=("c",)))
    assert not same_wish(MADE, replace(MADE, repeat=2))
    assert not same_wish(PLAN, replace(PLAN, pools=("a",)))


@dataclass
class World:
    """A cluster that does what it is told, and in which each node behaves in its own way."""

    plan: BenchPlan
    ways: dict[str, Found]
    """Node -> what a probe there comes to."""
    brings: int
    """Nodes that the autoscaler brings at most."""
    now: datetime = NOW
    probes: list[Probe] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def view(self) -> BenchView:
        found = tuple(Seen(one, self.outcome(one), self.age(one), 60) for one in self.probes)
        return BenchView(nodes(*self.ways), found, tuple(self.samples))

    def age(self, one: Probe) -> float:
        assert one.created is not None
        return (self.now - one.created).total_seconds()

    def outcome(self, one: Probe) -> Outcome:
        if not one.node:
            return Outcome(Found.UNPLACED, why="no node")
        ended = self.now.timestamp() - 60
        return replace(PULLED, found=self.ways[one.node], node=one.node, ended=ended, why="so")

    def act(self, taken: Step) -> None:
        if isinstance(taken, Start):
            node = taken.node
            if not node and self.brings:
                self.brings -= 1
                node = f"{taken.pool}-new{self.brings}"
                self.ways[node] = Found.PULLED
            assert not self.probes, "one at a time"
            name = probe_name("r1", self.plan.pools.index(taken.pool), taken.attempt)
            notes = {PINNED: taken.node} if taken.node else {}
            self.probes.append(Probe(name, "lab", name, "r1", node, created=self.now, annotations=notes))
        elif isinstance(taken, Record):
            assert taken.sample not in self.samples
            self.samples.append(taken.sample)
        elif isinstance(taken, Remove):
            self.probes.remove(taken.probe)
        else:
            assert isinstance(taken, Wait)
        self.now += timedelta(seconds=taken.seconds if isinstance(taken, Wait) else 1)


ways = st.dictionaries(
    st.sampled_from([f"{pool}-{n}" for pool in "ab" for n in range(5)]), st.sampled_from(Found), max_size=10
)


@given(ways, st.booleans(), st.integers(0, 4), st.integers(1, 3), st.integers(1, 2))
def test_every_bench_comes_to_its_end_with_no_more_pulls_than_asked_for_and_no_node_twice(
    each: dict[str, Found], scale_up: bool, brings: int, count: int, rounds: int
) -> None:
    plan = replace(PLAN, nodes=count, repeat=rounds, scale_up=scale_up, timeout_s=100)
    world = World(plan, dict(each), brings)
    for _ in range(5000):
        taken = decide(plan, "r1", world.view())
        if isinstance(taken, Finish):
            break
        world.act(taken)
    else:
        pytest.fail("it goes on for ever")
    assert world.probes == []
    for pool in plan.pools:
        found = counted(world.samples, pool)
        assert len(found) <= plan.wanted
        used = [one.outcome.node for one in found]
        assert len(used) == len(set(used))
        fresh = [name for name, way in each.items() if name.startswith(pool) and way is Found.PULLED]
        if len(found) < min(plan.wanted, len(fresh)):
            assert given_up(plan, world.samples, pool)
