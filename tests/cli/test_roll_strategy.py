from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from kubectl_imagecache.sandbox.cloud.errors import ApiError
from kubectl_imagecache.sandbox.cloud.state import OrderedFailure
from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.sandbox.scenarios.stage import LOCATION, PROJECT
from tests.cli.test_roll import AS_IT_WAS, ROLL, ROLLED, killed_at, run
from tests.schemas import lines
from tests.usecases.roll_stage import BIG, OLD, SCALING, add_stuck, controller, settings, stage, state_of

ROLLING = (*ROLL, "--strategy", "rolling", "--max-surge", "3", "--max-unavailable", "3")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settings()) as running:
        yield running


def said(out: str) -> list[str]:
    """What a roll did, but for waiting."""
    lines = [line[10:] for line in out.splitlines() if line[2:3] == ":"]
    return [
        re.sub(r"gke-[a-z0-9-]+", "NODE", line) for line in lines if not line.startswith(("wait", "empty", "evict"))
    ]


def probes(sandbox: Sandbox) -> list[str]:
    pods = sandbox.kube.objects("Pod")
    return [pod["metadata"]["name"] for pod in pods if "kubectl-imagecache/run" in pod["metadata"]["labels"]]


def test_a_pool_rolls_in_batches_of_a_node_in_every_zone_and_never_has_more_nodes(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    stage(sandbox, nodes=2, zones="abc")
    sandbox.world.calls.clear()
    sandbox.cloud.state.quotas["INSTANCES"] = 11  # Two of another pool, six old nodes, and one batch.
    code, out, err = run(sandbox, tmp_path, *ROLLING)
    assert (code, err) == (0, "")
    assert [line for line in said(out) if "emptied" not in line] == [
        "create the new pool",
        "note the autoscaling limits on NODE",
        "turn autoscaling of web off",
        "cordon NODE, NODE, NODE",
        "grow web-r2 to 2 nodes a zone",
        "cordon NODE, NODE, NODE",
        "set autoscaling of web-r2 to 1-4 a zone",
        "take our marks from NODE",
        "delete web",
        "web is replaced by web-r2",
    ]
    assert state_of(sandbox) == ROLLED
    assert len([node for node in sandbox.kube.objects("Node") if "-web-r2-" in node["metadata"]["name"]]) == 6


def test_a_roll_in_batches_goes_back_in_batches_from_half_way(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox, nodes=3)
    add_stuck(sandbox)
    sandbox.world.clock.advance(300)
    small = (*ROLL, "--strategy", "rolling", "--drain-timeout", "10m")
    code, out, err = run(sandbox, tmp_path, *small)
    assert code == 5, out
    assert "is not empty after 600 s: default/stuck-" in err
    assert state_of(sandbox)["pools"]["web"][1] == {}
    assert run(sandbox, tmp_path, "web", "--rollback", "--yes")[0] == 0
    assert state_of(sandbox) == {**AS_IT_WAS, "pods": {"web": 4}}
    web = [node for node in sandbox.kube.objects("Node") if "-web-" in node["metadata"]["name"]]
    assert len(web) == 3
    assert not [node for node in web if "kubectl-imagecache" in str(node["metadata"])]


@pytest.mark.parametrize("back", [False, True], ids=["forward", "back"])
def test_killed_at_every_request_of_a_roll_in_batches_a_second_run_ends_the_same(tmp_path: Path, back: bool) -> None:
    # All of them take minutes: ROLL_KILL_STRIDE=1, and once more with ROLL_KILL_PERFORMED=1 for the other half of each.
    stride = int(os.environ.get("ROLL_KILL_STRIDE", "31"))
    number, performed, killed = 1 + stride // 2 * back, bool(os.environ.get("ROLL_KILL_PERFORMED")), 0
    kept = () if not back else ("--keep-old",)
    order = (*ROLL, "--strategy", "rolling", *kept)
    end = ("web", "--rollback", "--yes") if back else order
    while True:
        with Sandbox(settings()) as sandbox:
            stage(sandbox, nodes=2)
            if back:
                assert run(sandbox, tmp_path, *order)[0] == 0
            if not killed_at(sandbox, tmp_path, number, performed, *end):
                break
            killed += 1
            assert (number, state_of(sandbox)) == (number, AS_IT_WAS if back else ROLLED)
            nodes = [node for node in sandbox.kube.objects("Node") if "-web" in node["metadata"]["name"]]
            assert (number, len(nodes)) == (number, 2)
        number, performed = number + stride, not performed
    assert killed * stride > 30


def test_a_canary_proves_the_disk_before_the_old_pool_is_touched(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox, cached=[BIG])
    code, out, err = run(sandbox, tmp_path, *ROLL, "--canary", BIG)
    assert (code, err) == (0, "")
    assert said(out)[:5] == [
        "create the new pool",
        f"run a pod of {BIG} on NODE",
        "take away what ran on NODE to measure",
        "note the autoscaling limits on NODE",
        "turn autoscaling of web off",
    ]
    assert (state_of(sandbox), probes(sandbox)) == (ROLLED, [])


def test_a_canary_whose_pull_is_slow_stops_the_roll_and_leaves_no_pod(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    code, _, err = run(sandbox, tmp_path, *ROLL, "--canary", BIG, "--canary-limit", "2s")
    assert code == 5
    assert re.match(
        rf"error: the canary of {BIG} on gke-\S+: its pull took [\d.]+ s, more than --canary-limit 2 s", err
    )
    state = state_of(sandbox)
    assert (state["pools"]["web"], state["pods"], state["cordoned"]) == (("RUNNING", SCALING, str(OLD)), {"web": 3}, [])
    assert probes(sandbox) == []
    assert run(sandbox, tmp_path, "web", "--rollback", "--yes")[0] == 0
    assert state_of(sandbox) == AS_IT_WAS


def test_a_roll_killed_at_any_request_of_its_canary_leaves_none_once_it_is_done(tmp_path: Path) -> None:
    first, last = _requests_of_canary(tmp_path)
    stride = int(os.environ.get("ROLL_KILL_STRIDE", "9"))
    for number in range(first, last + 1, stride):
        with Sandbox(settings()) as sandbox:
            stage(sandbox, cached=[BIG])
            assert killed_at(sandbox, tmp_path, number, number % 2 == 0, *ROLL, "--canary", BIG)
            assert (number, state_of(sandbox), probes(sandbox)) == (number, ROLLED, [])


def _requests_of_canary(home: Path) -> tuple[int, int]:
    """The numbers of the first and the last request that has to do with the canary."""
    with Sandbox(settings()) as sandbox:
        stage(sandbox, cached=[BIG])
        sandbox.world.calls.clear()
        assert run(sandbox, home, *ROLL, "--canary", BIG)[0] == 0
        calls = [f"{call.method} {call.target}" for call in sandbox.world.calls if "/_sandbox/" not in call.target]
    mine = [number for number, call in enumerate(calls, 1) if "/pods" in call and ("default/pods" in call)]
    canary = [number for number in mine if "eviction" not in calls[number - 1]]
    return canary[0], canary[-1]


def test_what_a_budget_keeps_is_deleted_only_where_it_is_asked_for_and_that_is_said_loudly(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    stage(sandbox)
    add_stuck(sandbox)
    sandbox.world.clock.advance(300)
    code, out, err = run(sandbox, tmp_path, *ROLL, "--force-after", "5m")
    assert code == 0
    assert (
        "warn    force-after:             pods that a budget keeps for longer than 300 s WILL BE DELETED past it" in out
    )
    assert err.startswith("warning: pods that a budget keeps for longer than 300 s WILL BE DELETED past it\n")
    (line,) = [line for line in said(out) if "DELETE" in line]
    assert re.fullmatch(r"DELETE, past their budgets, default/stuck-\S+", line)
    assert state_of(sandbox) == {**ROLLED, "pods": {"web-r2": 4}}


def test_a_roll_waits_for_its_maintenance_window(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    opens = sandbox.world.clock.now().replace(hour=23, minute=0, second=0)
    code, out, err = run(sandbox, tmp_path, *ROLL, "--maintenance-window", "23:00-01:00 UTC", "-o", "json")
    assert (code, err) == (0, "")
    events = lines(out)
    steps = [event for event in events if event["kind"] not in ("preflight", "wait", "end", "done")]
    assert events[1]["text"] == f"wait: no step is begun before {opens.isoformat()}, when the maintenance window opens"
    assert steps[0]["kind"] == "create"
    assert all(event["at"] >= opens.isoformat() for event in steps)
    assert state_of(sandbox) == ROLLED


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--max-surge", "1"], "--max-surge is of --strategy rolling"),
        (["--strategy", "rolling", "--surge", "1"], "--surge is of --strategy blue-green"),
        (["--strategy", "rolling", "--soak", "1m"], "leaves none to keep"),
        (["--force-after", "1h"], "comes no sooner than --drain-timeout"),
        (["--maintenance-window", "Sat 22:00-22:30"], "is shorter than --drain-timeout"),
        (["--maintenance-window", "whenever"], "not a maintenance window: 'whenever'"),
        (["--strategy", "rolling", "--max-surge", "half"], "not a number of nodes: 'half'"),
        (["--canary", "A//b"], "not an image reference"),
        (["--canary-limit", "2s"], "name its image with --canary"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    sandbox: Sandbox, tmp_path: Path, flags: list[str], words: str
) -> None:
    code, _, err = run(sandbox, tmp_path, *ROLL, *flags)
    assert code == 2
    assert words in err
    assert not [call for call in sandbox.world.calls if call.method != "GET"]


def test_a_smaller_new_pool_is_made_where_it_is_asked_for(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox, nodes=2, zones="ab")
    code, out, err = run(sandbox, tmp_path, *ROLL, "--surge", "50%")
    assert (code, err) == (0, "")
    assert "warn    surge:" in out
    assert state_of(sandbox) == ROLLED
    assert len([node for node in sandbox.kube.objects("Node") if "-web-r2-" in node["metadata"]["name"]]) == 2


def test_a_deletion_of_nodes_that_google_does_not_carry_out_is_asked_for_again(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    stage(sandbox, nodes=2)
    failure = OrderedFailure("compute.instanceGroupManagers.deleteInstances", "", ApiError(500, "an internal error"))
    sandbox.cloud.state.failures.append(replace(failure, times=1))
    code, out, err = run(sandbox, tmp_path, *ROLL, "--strategy", "rolling")
    assert (code, err) == (0, ""), out
    assert state_of(sandbox) == ROLLED
    assert state_of(sandbox)["pools"]["web-r2"][1] == SCALING


def test_where_somebody_deletes_the_new_pool_a_rollback_restores_the_old_one(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    assert run(sandbox, tmp_path, *ROLL, "--keep-old")[0] == 0
    pools = f"v1/projects/{PROJECT}/locations/{LOCATION}/clusters/{sandbox.cluster}/nodePools"
    with urlopen(Request(f"{sandbox.url('gke')}/{pools}/web-r2", method="DELETE")) as answer:
        assert answer.status == 200
    sandbox.world.clock.advance(300)
    assert state_of(sandbox)["pods"] == {}
    assert run(sandbox, tmp_path, "web", "--rollback", "--yes")[0] == 0
    sandbox.world.clock.advance(60)
    assert state_of(sandbox) == AS_IT_WAS


def test_the_checklist_names_volumes_that_cannot_follow_and_rollouts_that_ask_no_budget(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    stage(sandbox)
    made = controller("Deployment", "db", {"cloud.google.com/gke-nodepool": "web"}, replicas=2)
    made["spec"]["strategy"] = {"type": "Recreate"}
    made["spec"]["template"]["spec"]["volumes"] = [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
    sandbox.kube.create(made)
    host = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "local": {"path": "/mnt/d"},
        "claimRef": {"namespace": "default", "name": "data"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}},
    }
    sandbox.kube.create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": spec})
    sandbox.world.clock.advance(120)
    code, out, err = run(sandbox, tmp_path, *ROLL, "--dry-run", "--repin")
    assert code == 5
    assert "refuse  volumes:                 1 volumes are on a node's own disks: their pods would stay Pending" in out
    assert "        default/data: default/db-" in out
    assert "(as asked); its rollout takes down 2 of 2 pods at a time, past any budget\n" in out
    assert err == "refused: volumes (overrule with --allow volumes)\n"
