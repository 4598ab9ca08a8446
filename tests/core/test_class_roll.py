from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_imagecache.core import compute_class as classes
from kubectl_imagecache.core.class_roll import MARK, ClassView, change_of, changed, decide, old_nodes
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.roll import Done, EditClass, RollNode, RollPlan, Stop
from kubectl_imagecache.core.windows import parse_window
from tests.core.class_world import NEW, OLD, START, World, build, rule, run

THIRD = DiskImageRef("p", "cache-3")
OWNERS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 4).flatmap(lambda replicas: st.tuples(st.just(replicas), st.integers(0, replicas))),
)
EXAMPLES = int(os.environ.get("ROLL_EXAMPLES", "80"))
WINDOWS = st.sampled_from([(), (parse_window("Mon-Sun 09:00-09:40"),), (), (parse_window("12:00-13:00"),)])
CRASHES = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 3)), max_size=4)
WORLDS = st.builds(build, st.integers(0, 10**6), OWNERS, st.booleans())
PLANS = st.builds(
    RollPlan,
    st.just("class.models"),
    st.just(NEW),
    max_unavailable=st.integers(1, 3),
    gate=st.booleans(),
    drain_timeout_s=st.just(300.0),
    windows=WINDOWS,
)


def check_harmless(world: World) -> None:
    """What holds at any time: nobody fell below a budget, nodes could be made, and only disks of the rules changed."""
    assert world.below_budget == []
    assert not world.refused
    assert world.meddled == []
    assert [{**one, "storage": None} for one in classes.rules(world.found)] == [
        {"machineFamily": "n2", "storage": None}
    ]


def check_end(world: World, disk: DiskImageRef | None, gate: bool) -> None:
    check_harmless(world)
    assert not gate or all(pod.ready or pod.trouble for pod in world.pods.values())
    assert [classes.cache_disks(one, "p") for one in classes.rules(world.found)] == [(disk,) if disk else ()]
    assert {node.disks for node in world.nodes.values()} <= {frozenset({disk} if disk else ())}
    assert not any(node.cordoned or node.marks for node in world.nodes.values())


@settings(deadline=None, max_examples=EXAMPLES)
@given(WORLDS, PLANS, CRASHES)
def test_whatever_happens_the_roll_of_a_class_ends_harmlessly_and_can_always_be_finished(
    world: World, plan: RollPlan, crashes: list[tuple[int, int]]
) -> None:
    for step, calls in crashes:
        run(world, plan, step, calls)
        check_harmless(world)
    end = run(world, plan, -1)
    check_harmless(world)
    if isinstance(end, Stop):
        # What holds it up is a budget without room.
        world.budgets = dict.fromkeys(world.budgets, 0)
        end = run(world, plan, -1)
    assert isinstance(end, Done), end
    check_end(world, NEW, plan.gate)


@settings(deadline=None, max_examples=EXAMPLES)
@given(WORLDS, PLANS, st.integers(0, 40), st.integers(0, 3), CRASHES)
def test_a_rollback_from_anywhere_gives_the_class_and_its_nodes_the_former_disk(
    world: World, plan: RollPlan, turn: int, calls: int, crashes: list[tuple[int, int]]
) -> None:
    cached = classes.cache_disks(classes.rules(world.found)[0], "p")
    run(world, plan, turn, calls)
    back = replace(plan, back=True, disk=None)
    for step, done in crashes:
        run(world, back, step, done)
        check_harmless(world)
    world.budgets = dict.fromkeys(world.budgets, 0)
    end = run(world, back, -1)
    if change_of(world.found) is None:
        assert isinstance(end, Stop)
        return
    assert isinstance(end, Done), end
    check_end(world, cached[0] if cached else None, plan.gate)


@settings(deadline=None, max_examples=EXAMPLES)
@given(WORLDS, PLANS, st.lists(st.tuples(st.sampled_from([NEW, OLD, THIRD, None]), st.integers(0, 25)), max_size=4))
def test_a_roll_that_others_gave_up_for_another_or_went_back_from_is_finished_all_the_same(
    world: World, plan: RollPlan, others: list[tuple[DiskImageRef | None, int]]
) -> None:
    for disk, turn in others:
        run(world, replace(plan, disk=disk, back=disk is None), turn, 1)
        check_harmless(world)
    world.budgets = dict.fromkeys(world.budgets, 0)
    end = run(world, plan, -1)
    if isinstance(end, Done) and end.back:
        # Who began to go back goes all the way; what is wanted then is begun anew.
        end = run(world, plan, -1)
    assert isinstance(end, Done), end
    check_end(world, NEW, plan.gate)


MEDDLING = st.tuples(st.sampled_from(["revert", "forget", "repair", "sicken"]), st.integers(0, 25))


@settings(deadline=None, max_examples=EXAMPLES)
@given(WORLDS, PLANS, st.lists(MEDDLING, min_size=1, max_size=4))
def test_a_roll_goes_on_over_what_others_undo_and_stops_at_pods_that_do_not_start_until_they_do(
    world: World, plan: RollPlan, meddling: list[tuple[str, int]]
) -> None:
    for what, turn in meddling:
        run(world, plan, turn, 1)
        world.meddle(what)
        check_harmless(world)
    end = run(world, plan, -1)
    if isinstance(end, Stop):
        world.heal()
        world.budgets = dict.fromkeys(world.budgets, 0)
        end = run(world, plan, -1)
    assert isinstance(end, Done), end
    # With the note it is lost since when pods move.
    check_end(world, NEW, plan.gate and "forget" not in dict(meddling))


def view(*rules: dict[str, Any], nodes: tuple[RollNode, ...] = (), annotations: Any = None) -> ClassView:
    found = {"metadata": {"name": "models", "annotations": annotations or {}}, "spec": {"priorities": list(rules)}}
    return ClassView(START, "models", found, "p", nodes, allowlists=None)


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"priorities": [{"machineFamily": "n2"}]}, "ab"),
        ({"priorities": [{"machineFamily": "n2", "location": {"zones": ["c"]}}]}, "c"),
        ({"priorities": [{"location": {"zones": ["c"]}}, {"machineFamily": "n2"}]}, "abc"),
        ({"priorities": [{"machineFamily": "n2"}], "priorityDefaults": {"location": {"zones": ["d"]}}}, "d"),
        ({"priorities": [{"nodepools": ["web", "gone"]}]}, "abw"),
        ({"priorities": [{"location": {"zones": ["c"]}}], "whenUnsatisfiable": "ScaleUpAnyway"}, "abc"),
        ({"priorities": [{"location": {"zones": ["c"]}}], "whenUnsatisfiable": "DoNotScaleUp"}, "c"),
        ({}, ""),
    ],
)
def test_a_class_has_nodes_where_its_rules_its_pools_or_the_cluster_have(spec: dict[str, Any], where: str) -> None:
    assert classes.zones({"spec": spec}, {"web": frozenset("w")}, frozenset("ab")) == frozenset(where)


def test_only_rules_that_have_a_cache_disk_get_the_new_one_and_data_disks_stay() -> None:
    data = {"diskImageName": "weights"}
    first = rule("cache-1")
    first["storage"] |= {"bootDiskSize": 50, "secondaryBootDisks": [data, *first["storage"]["secondaryBootDisks"]]}
    rules = [first, rule(), {"nodepools": ["web"]}]
    made = classes.with_disk(rules, NEW)
    new = {"diskImageName": "cache-2", "project": "p", "mode": "CONTAINER_IMAGE_CACHE"}
    assert made == [
        {"machineFamily": "n2", "storage": {"bootDiskSize": 50, "secondaryBootDisks": [data, new]}},
        *rules[1:],
    ]
    assert classes.changed([rule(), {"nodepools": ["web"]}, {"podFamily": "general-purpose"}]) == (0,)


def test_nodes_of_a_rule_without_a_cache_disk_stay() -> None:
    edit = changed(view(rule("cache-1"), rule()), EditClass("models", NEW))
    nodes = (
        RollNode("cached", "nap", disks=frozenset({OLD}), created=START),
        RollNode("fallback", "nap", created=START),
        RollNode("new", "nap", disks=frozenset({NEW}), created=START),
    )
    after = view(*edit["spec"]["priorities"], nodes=nodes, annotations=edit["metadata"]["annotations"])
    assert [node.name for node in old_nodes(after)] == ["cached"]


def test_nodes_of_a_roll_that_was_given_up_for_another_go_too() -> None:
    nodes = tuple(RollNode(disk.name, "nap", disks=frozenset({disk}), created=START) for disk in (OLD, NEW))
    first = changed(view(rule("cache-1"), nodes=nodes), EditClass("models", NEW))
    half = view(*first["spec"]["priorities"], nodes=nodes, annotations=first["metadata"]["annotations"])
    third = DiskImageRef("p", "cache-3")
    second = changed(half, EditClass("models", third))
    after = view(*second["spec"]["priorities"], nodes=nodes, annotations=second["metadata"]["annotations"])
    assert [node.name for node in old_nodes(after)] == ["cache-1", "cache-2"]


def test_nodes_without_any_disk_that_a_roll_given_up_for_another_has_left_go_too() -> None:
    nodes = (RollNode("bare", "nap", created=START), RollNode("first", "nap", disks=frozenset({OLD}), created=START))
    first = changed(view(rule(), nodes=nodes[:1]), EditClass("models", OLD))
    half = view(*first["spec"]["priorities"], nodes=nodes, annotations=first["metadata"]["annotations"])
    second = changed(half, EditClass("models", NEW))
    after = view(*second["spec"]["priorities"], nodes=nodes, annotations=second["metadata"]["annotations"])
    assert [node.name for node in old_nodes(after)] == ["bare", "first"]


def test_rules_that_stay_are_left_out_of_an_apply_only_where_somebody_else_has_them() -> None:
    rules = classes.with_disk([rule("cache-1")], NEW)
    found = view(*rules)
    assert changed(found, EditClass("models", NEW))["spec"] == {"priorities": rules}
    theirs = [{"manager": "argocd", "operation": "Apply", "fieldsV1": {"f:spec": {"f:priorities": {}}}}]
    document = found.found
    assert document is not None
    document["metadata"]["managedFields"] = theirs
    assert set(changed(found, EditClass("models", NEW))) == {"apiVersion", "kind", "metadata"}


def test_nodes_of_pools_that_rules_name_stay_for_they_would_come_back_the_same() -> None:
    edit = changed(view(rule("cache-1"), {"nodepools": ["web"]}), EditClass("models", NEW))
    nodes = tuple(RollNode(pool, pool, disks=frozenset({OLD}), created=START) for pool in ("nap", "web"))
    after = view(*edit["spec"]["priorities"], nodes=nodes, annotations=edit["metadata"]["annotations"])
    assert [node.name for node in old_nodes(after)] == ["nap"]


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"since":"x"}', '{"since":1,"former":[1],"left":[],"to":[]}', "\0"])
def test_an_annotation_without_sense_is_none(said: str) -> None:
    assert change_of({"metadata": {"annotations": {MARK: said}}}) is None


@pytest.mark.parametrize("since", ["2026-01-15T09:00:00", "2026-01-15T09:00:00+00:00"])
def test_a_time_without_a_zone_is_no_time(since: str) -> None:
    said = f'{{"since":"{since}","former":[],"left":[],"to":[]}}'
    assert (change_of({"metadata": {"annotations": {MARK: said}}}) is not None) is since.endswith("+00:00")


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("projects/p/global/images/.*", True),
        ("projects/p/global/images/cache-1", True),
        ("images/cache-1", False),
        ("projects/p/global/images/cache", False),
        ("projects/[", False),
        ("(a*)*" * 200, False),
    ],
)
def test_a_pattern_allows_what_it_matches_as_a_whole(pattern: str, matches: bool) -> None:
    assert classes.allowed(OLD, [{"spec": {"allowedResourcePatterns": [pattern]}}]) is matches


def test_the_pattern_that_is_written_matches_one_disk_image_alone() -> None:
    disk = DiskImageRef("example.com:p", "x")
    allowlist = {"spec": {"allowedResourcePatterns": [classes.exactly(disk)]}}
    assert classes.allowed(disk, [allowlist])
    assert not classes.allowed(DiskImageRef("example-com:p", "x"), [allowlist])


def test_whoever_owns_the_rules_by_any_operation_is_named() -> None:
    spec: dict[str, Any] = {"f:spec": {"f:priorities": {}}}
    entries: list[dict[str, Any]] = [
        {"manager": "kubectl-imagecache", "fieldsV1": spec},
        {"manager": "kubectl-client-side-apply", "operation": "Update", "fieldsV1": spec},
        {"manager": "gke", "fieldsV1": {"f:status": {}}},
        {"manager": "argocd-controller", "operation": "Apply", "fieldsV1": spec},
    ]
    found = {"metadata": {"managedFields": entries}}
    assert classes.owners_of_rules(found, "kubectl-imagecache") == ("argocd-controller", "kubectl-client-side-apply")


def test_a_class_with_other_rules_than_before_is_not_put_back() -> None:
    edit = changed(view(rule("cache-1")), EditClass("models", NEW))
    found = view(*edit["spec"]["priorities"], rule(), annotations=edit["metadata"]["annotations"])
    step = decide(RollPlan("class.models", back=True), found)
    assert isinstance(step, Stop)
    assert step.why == "ComputeClass models had 1 rules before the roll and has 2 now"
