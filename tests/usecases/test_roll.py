from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from kubectl_imagecache.core.roll import Delete, Done, Evict, Mark, RollPlan
from kubectl_imagecache.core.roll_event import RollEvent
from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.sandbox.kube.kubelet import BEHAVIOUR
from kubectl_imagecache.sandbox.pool_autoscaler import PoolAutoscaler
from kubectl_imagecache.sandbox.scenarios.stage import LOCATION, PROJECT
from kubectl_imagecache.usecases.roll import observe, roll
from kubectl_imagecache.usecases.roll_act import act
from kubectl_imagecache.usecases.roll_lock import Locked
from kubectl_imagecache.usecases.roll_tools import Interrupted, Run, Stopped
from tests.usecases.roll_stage import (
    NEW,
    OLD,
    SCALING,
    add_pool,
    add_stuck,
    controller,
    pool_json,
    settings,
    stage,
    state_of,
    tools,
)

ROLLED = {"pools": {"web-r2": ("RUNNING", SCALING, str(NEW))}, "pods": {"web-r2": 3}, "cordoned": []}
AS_IT_WAS = {"pools": {"web": ("RUNNING", SCALING, str(OLD))}, "pods": {"web": 3}, "cordoned": []}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settings()) as running:
        yield running


def test_a_pool_moves_to_its_new_disk_image(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    events: list[RollEvent] = []
    done = roll(tools(sandbox, events, tmp_path), RollPlan("web", NEW))
    assert done == Done("web is replaced by web-r2")
    assert state_of(sandbox) == ROLLED


def test_a_pool_comes_back_from_where_the_roll_stopped(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    add_stuck(sandbox)
    sandbox.world.clock.advance(300)
    events: list[RollEvent] = []
    mine = tools(sandbox, events, tmp_path)
    with pytest.raises(Stopped, match="is not empty after 600 s: default/stuck-"):
        roll(mine, RollPlan("web", NEW, drain_timeout_s=600))
    assert state_of(sandbox)["pools"]["web"] == ("RUNNING", {}, str(OLD))
    assert roll(mine, RollPlan("web", back=True)) == Done("web is as it was", back=True)
    assert state_of(sandbox) == {**AS_IT_WAS, "pods": {"web": 4}}
    assert all("kubectl-imagecache" not in str(node["metadata"]) for node in sandbox.kube.objects("Node"))


def test_a_pool_made_again_under_the_old_name_is_not_taken_for_the_one_that_was_replaced(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    stage(sandbox)
    mine = tools(sandbox, [], tmp_path)
    roll(mine, RollPlan("web", NEW))
    add_pool(sandbox, 2)
    view = observe(mine, RollPlan("web", NEW))
    assert view.old is not None
    assert (view.old.name, view.new) == ("web", None)
    assert roll(mine, RollPlan("web", back=True)) == Done("web is as it was", back=True)
    assert roll(mine, RollPlan("web", NEW)) == Done("web is replaced by web-r3")
    assert set(state_of(sandbox)["pools"]) == {"web-r2", "web-r3"}


def test_a_create_that_fails_leaves_what_a_rollback_takes_away(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    sandbox.cloud.limit("CPUS", 24)
    mine = tools(sandbox, [], tmp_path)
    with pytest.raises(Stopped, match="web-r2 is in ERROR"):
        roll(mine, RollPlan("web", NEW))
    assert roll(mine, RollPlan("web", back=True)) == Done("web is as it was", back=True)
    assert state_of(sandbox) == AS_IT_WAS


def test_pods_that_did_not_run_before_do_not_hold_the_roll_up(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    sandbox.kube.create(controller("Deployment", "stuck", {"role": "web"}, replicas=1, image="ghcr.io/acme/none:1"))
    sandbox.world.clock.advance(300)
    mine = tools(sandbox, [], tmp_path)
    assert roll(mine, RollPlan("web", NEW)) == Done("web is replaced by web-r2")


def test_a_pod_that_nobody_would_make_again_is_left_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    spec = {**controller("Deployment", "stuck", {"role": "web"})["spec"]["template"]["spec"]}
    sandbox.kube.create(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare", "namespace": "default"}, "spec": spec}
    )
    sandbox.world.clock.advance(120)
    mine = tools(sandbox, [], tmp_path)
    with pytest.raises(Stopped, match=r"default/bare on gke-.* has no controller"):
        roll(mine, RollPlan("web", NEW))
    assert "bare" in {pod["metadata"]["name"] for pod in sandbox.kube.objects("Pod", "default")}


def test_a_soak_keeps_the_old_pool_for_its_time_over_two_runs(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    mine = tools(sandbox, [], tmp_path)
    plan = RollPlan("web", NEW, soak_s=1800)
    began = mine.clock.now()
    waited: list[RollEvent] = []
    halted = replace(mine, say=waited.append, interrupted=lambda: any("stands by" in str(e.step) for e in waited))
    with pytest.raises(Interrupted):
        roll(halted, plan)
    assert {"web", "web-r2"} == set(state_of(sandbox)["pools"])
    assert roll(mine, plan) == Done("web is replaced by web-r2")
    assert timedelta(seconds=1800) < mine.clock.now() - began < timedelta(seconds=2400)


@pytest.mark.parametrize(
    ("behaviour", "words"), [("crash", "does not start: CrashLoopBackOff"), ("unready", "is still not Ready on")]
)
def test_pods_that_do_not_become_ready_on_the_new_nodes_stop_the_roll_and_a_second_run_goes_on(
    sandbox: Sandbox, tmp_path: Path, behaviour: str, words: str
) -> None:
    stage(sandbox)
    mine = tools(sandbox, [], tmp_path)

    def spoil(event: RollEvent) -> None:
        if isinstance(event.step, Mark):
            behave(behaviour)

    def behave(how: str | None) -> None:
        template = {"metadata": {"annotations": {BEHAVIOUR: how}}}
        patch(sandbox, "apis/apps/v1/namespaces/default/deployments/front", {"spec": {"template": template}})

    plan = RollPlan("web", NEW, gate_timeout_s=300)
    with pytest.raises(Stopped, match=f"default/front-.* {words}"):
        roll(replace(mine, say=spoil), plan)
    assert sum(state_of(sandbox)["pods"].values()) >= 2
    assert "web" in state_of(sandbox)["pools"]
    behave(None)
    sandbox.world.clock.advance(300)
    assert roll(mine, plan) == Done("web is replaced by web-r2")
    assert state_of(sandbox) == ROLLED


def patch(sandbox: Sandbox, path: str, body: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    request = Request(f"{sandbox.url('kube')}/{path}", json.dumps(body).encode(), headers, method="PATCH")
    with urlopen(request) as answer:
        assert answer.status == 200


def test_no_step_is_begun_after_the_window(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    mine = tools(sandbox, [], tmp_path)
    plan = RollPlan("web", NEW, not_after=mine.clock.now() + timedelta(seconds=30))
    with pytest.raises(Stopped, match="no step is begun after"):
        roll(mine, plan)
    assert state_of(sandbox)["pools"]["web"] == ("RUNNING", SCALING, str(OLD))
    assert roll(mine, replace(plan, not_after=None)) == Done("web is replaced by web-r2")


@pytest.mark.parametrize(
    ("behaviour", "cpu", "words"),
    [("crash", "100m", r"on gke-.* does not start: CrashLoopBackOff"), ("", "500", "is still Pending after 300 s")],
)
def test_pods_of_others_do_not_stop_a_roll_and_are_told(
    sandbox: Sandbox, tmp_path: Path, behaviour: str, cpu: str, words: str
) -> None:
    stage(sandbox, 3)
    mine, events = tools(sandbox, [], tmp_path), list[RollEvent]()

    def intrude(event: RollEvent) -> None:
        events.append(event)
        if isinstance(event.step, Mark) and not sandbox.kube.objects("Deployment", "theirs"):
            other = controller("Deployment", "other", {"role": "web"}, replicas=1)
            template = other["spec"]["template"]
            template["metadata"]["annotations"] = {BEHAVIOUR: behaviour} if behaviour else {}
            template["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
            other["metadata"]["namespace"] = "theirs"
            sandbox.kube.create(other)

    plan = RollPlan("web", NEW, gate_timeout_s=300, soak_s=1200)
    assert roll(replace(mine, say=intrude), plan) == Done("web is replaced by web-r2")
    told = [event.note for event in events if event.aside]
    assert len(told) == 1
    assert re.fullmatch(f"theirs/other-.*, which the roll has not moved, {words}", told[0])


def test_pods_that_were_moved_and_find_no_node_stop_the_roll(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    mine = tools(sandbox, [], tmp_path)

    def shut(event: RollEvent) -> None:
        if isinstance(event.step, Mark):
            for node in mine.kube.nodes("web-r2"):
                mine.kube.patch_node(node.name, {}, unschedulable=True)

    with pytest.raises(Stopped, match=r"default/front-.* is still Pending after 300 s"):
        roll(replace(mine, say=shut), RollPlan("web", NEW, gate_timeout_s=300))
    for node in mine.kube.nodes("web-r2"):
        mine.kube.patch_node(node.name, {}, unschedulable=False)
    assert roll(mine, RollPlan("web", NEW)) == Done("web is replaced by web-r2")
    assert state_of(sandbox) == ROLLED


def test_a_budget_that_keeps_healthy_pods_does_not_keep_their_unhealthy_sibling(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    stage(sandbox)
    add_stuck(sandbox, 14, 13)
    sandbox.world.clock.advance(300)
    mine, plan = tools(sandbox, [], tmp_path), RollPlan("web", NEW)
    names = sorted(str(pod) for pod in mine.kube.pods() if pod.labels.get("app") == "stuck")
    sick = names[-1].removeprefix("default/")
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    patch(sandbox, f"api/v1/namespaces/default/pods/{sick}/status", unready)
    sandbox.world.clock.advance(5)
    view = observe(mine, plan)
    pods = sorted((pod for pod in mine.kube.pods() if pod.labels.get("app") == "stuck"), key=lambda pod: pod.name)
    act(mine, plan, view, Run(), Evict(tuple(pods)))
    assert [pod.name for pod in mine.kube.pods() if pod.leaving] == [sick]


def test_the_autoscaler_takes_no_new_node_away_before_the_pods_come(sandbox: Sandbox, tmp_path: Path) -> None:
    path = f"projects/{PROJECT}/locations/{LOCATION}/clusters/{sandbox.cluster}"
    PoolAutoscaler(sandbox.kube, sandbox.cloud, path)
    stage(sandbox, 3)
    add_stuck(sandbox, 3, 3)
    sandbox.world.clock.advance(300)
    mine = tools(sandbox, [], tmp_path)
    sizes: list[int] = []

    def watch(event: RollEvent) -> None:
        if "are kept by budgets" in str(event.step):
            sizes.append(event.nodes["web-r2"])
        if len(sizes) == 160:
            patch(
                sandbox, "apis/policy/v1/namespaces/default/poddisruptionbudgets/stuck", {"spec": {"minAvailable": 2}}
            )

    began = mine.clock.now()
    assert roll(replace(mine, say=watch), RollPlan("web", NEW)) == Done("web is replaced by web-r2")
    assert mine.clock.now() - began > timedelta(seconds=800)
    assert set(sizes) == {3}
    assert state_of(sandbox)["pools"] == ROLLED["pools"]


def test_a_laptop_that_slept_since_its_last_look_does_not_take_the_step_that_it_had_in_mind(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    stage(sandbox)
    mine = tools(sandbox, [], tmp_path)

    def sleep(event: RollEvent) -> None:
        if isinstance(event.step, Delete):
            sandbox.world.clock.advance(3600)
            tools(sandbox, [], tmp_path, who="bob@there/2")

    with pytest.raises(Locked, match="bob@there/2 rolls web since"):
        roll(replace(mine, say=sleep), RollPlan("web", NEW))
    assert set(state_of(sandbox)["pools"]) == {"web", "web-r2"}


def test_a_pool_of_gvisor_nodes_is_copied_without_what_gke_adds_to_them_itself(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    stage(sandbox)
    pool = pool_json(1)
    config = {**pool["config"], "sandboxConfig": {"type": "GVISOR"}, "taints": [{"key": "a", "effect": "NO_SCHEDULE"}]}
    sandbox.cloud.add_pool(sandbox.cluster, {**pool, "name": "safe", "config": config})
    mine = tools(sandbox, [], tmp_path)
    assert roll(mine, RollPlan("safe", NEW)) == Done("safe is replaced by safe-r2")
    found = next(one for one in mine.gke.cluster()["nodePools"] if one["name"] == "safe-r2")
    assert [taint["key"] for taint in found["config"]["taints"]] == ["a", "sandbox.gke.io/runtime"]
    assert found["config"]["labels"] == {"role": "web", "sandbox.gke.io/runtime": "gvisor"}
