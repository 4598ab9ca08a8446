from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kubectl_imagecache.core.roll import RollPlan
from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.usecases.roll import roll
from tests.cli.conftest import Program, start
from tests.cli.killing import KillAt, struck
from tests.schemas import lines
from tests.usecases.roll_stage import NEW, OLD, SCALING, settings, stage, state_of, tools

ROLLED = {"pools": {"web-r2": ("RUNNING", SCALING, str(NEW))}, "pods": {"web-r2": 3}, "cordoned": []}
AS_IT_WAS = {"pools": {"web": ("RUNNING", SCALING, str(OLD))}, "pods": {"web": 3}, "cordoned": []}
ROLL = ("web", "--disk-image", NEW.name, "--yes")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settings()) as running:
        yield running


def begin(sandbox: Sandbox, home: Path, *args: str) -> subprocess.Popen[str]:
    return start(sandbox, home, "roll", *args)


def run(sandbox: Sandbox, home: Path, *args: str) -> tuple[int, str, str]:
    process = begin(sandbox, home, *args)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def killed_at(sandbox: Sandbox, home: Path, number: int, performed: bool, *args: str) -> bool:
    """Kill the program at its request NUMBER and run it again to its end; False if it ended before."""
    ended = struck(sandbox, KillAt(number=number, performed=performed), lambda: begin(sandbox, home, *args))
    if ended == 0:
        return False
    assert ended == -signal.SIGKILL
    code, _, err = run(sandbox, home, *args)
    assert (number, code, err) == (number, 0, "")
    return True


def test_the_command_rolls_a_pool_and_says_each_step(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    code, out, err = run(sandbox, tmp_path, *ROLL)
    assert (code, err) == (0, "")
    said = [line[10:] for line in out.splitlines() if line[2:3] == ":"]
    steps = [line for line in said if not line.startswith(("wait", "empty", "evict", "cordon"))]
    assert [re.sub(r"gke-[a-z0-9-]+", "NODE", line) for line in steps] == [
        "create the new pool",
        "note the autoscaling limits on NODE",
        "turn autoscaling of web off",
        "set autoscaling of web-r2 to 1-4 a zone",
        "delete web",
        "web is replaced by web-r2",
    ]
    assert state_of(sandbox) == ROLLED


def test_a_dry_run_changes_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    sandbox.world.calls.clear()
    code, out, _ = run(sandbox, tmp_path, "web", "--disk-image", NEW.name, "--dry-run", "-o", "json")
    checks = {check["name"]: check["result"] for check in lines(out)[0]["checks"]}
    assert (code, checks["disk-image"], checks["quota"], checks["selectors"]) == (0, "ok", "ok", "ok")
    assert {call.method for call in sandbox.world.calls} == {"GET"}


def test_a_workload_that_selects_the_pool_is_refused_and_named_unless_it_may_be_changed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    stage(sandbox, pinned=True)
    code, out, err = run(sandbox, tmp_path, *ROLL)
    assert code == 5
    assert "Deployment default/front: nodeSelector cloud.google.com/gke-nodepool=web; --repin changes it" in out
    assert err == "refused: selectors (overrule with --allow selectors)\n"
    assert state_of(sandbox) == AS_IT_WAS
    (patch,) = (line.strip() for line in out.splitlines() if line.startswith("          kubectl patch "))
    asked = [*shlex.split(patch), "--dry-run=server", "--output", "jsonpath={.spec.template.spec.nodeSelector}"]
    done = subprocess.run(asked, env={**os.environ, **sandbox.env()}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, '{"cloud.google.com/gke-nodepool":"web-r2"}'), done.stderr
    assert run(sandbox, tmp_path, *ROLL, "--repin")[0] == 0
    assert state_of(sandbox) == ROLLED


WAYS = {
    "there": (ROLL, ROLLED, 7),
    "back": (("web", "--rollback", "--yes"), AS_IT_WAS, 17),
}
"""What is run, how it ends, and of how many requests it is killed at one."""


@pytest.mark.parametrize("way", WAYS)
def test_killed_at_every_request_in_turn_a_second_run_ends_the_same(tmp_path: Path, way: str) -> None:
    # All of them take minutes: ROLL_KILL_STRIDE=1, and once more with ROLL_KILL_PERFORMED=1 for the other half of each.
    command, end, stride = WAYS[way]
    number, performed, killed = 1, bool(os.environ.get("ROLL_KILL_PERFORMED")), 0
    stride = int(os.environ.get("ROLL_KILL_STRIDE", str(stride)))
    while True:
        with Sandbox(settings()) as sandbox:
            stage(sandbox, nodes=1)
            if way == "back":
                mine = tools(sandbox, [], tmp_path)
                roll(mine, RollPlan("web", NEW, keep_old=True))
                mine.lock.give()
            if not killed_at(sandbox, tmp_path, number, performed, *command):
                break
            killed += 1
            assert (number, state_of(sandbox)) == (number, end)
        number, performed = number + stride, not performed
    assert killed * stride > 30
    print(f"killed {killed} times")


def test_a_second_roller_is_told_who_and_since_when(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "imagecache-roll-web", "namespace": "default"},
        "spec": {
            "holderIdentity": "bob@laptop/7",
            "acquireTime": "2026-01-15T08:59:00.000000Z",
            "renewTime": f"{sandbox.world.clock.now():%Y-%m-%dT%H:%M:%S.000000Z}",
        },
    }
    sandbox.kube.create(lease)
    code, _, err = run(sandbox, tmp_path, *ROLL)
    assert code == 6
    assert err.startswith("error: bob@laptop/7 rolls web since 2026-01-15T08:59:00+00:00\n")
    assert state_of(sandbox) == AS_IT_WAS


def test_ctrl_c_ends_between_two_steps_and_says_how_to_go_on_or_back(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    process = begin(sandbox, tmp_path, *ROLL)
    assert process.stdout is not None
    for line in process.stdout:
        if "cordon" in line:
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "error: stopped between two steps of the roll of web: nothing is half done\n" in err
    where = f"--context {sandbox.context}"
    stands, *ways = err.splitlines()[-4:]
    assert re.fullmatch(r"stands: \d pods to move, web 2 nodes, web-r2 2 nodes", stands)
    assert ways == [
        f"go on: kubectl imagecache roll web --disk-image cache-2 --yes {where}",
        f"go back: kubectl imagecache roll web --rollback {where}",
        f"look: kubectl imagecache roll web --status {where}",
    ]
    code, out, _ = run(sandbox, tmp_path, "web", "--status")
    _, document, _ = run(sandbox, tmp_path, "web", "--status", "-o", "json")
    assert [event["kind"] for event in lines(document)] == ["status"]
    assert (code, out.splitlines()[3]) == (0, "direction:  forward")
    assert run(sandbox, tmp_path, "web", "--rollback", "--yes")[0] == 0
    assert state_of(sandbox) == AS_IT_WAS


def test_status_counts_no_pods_before_a_roll_and_knows_the_pools_there_are(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    code, out, _ = run(sandbox, tmp_path, "web", "--status")
    assert (code, out.splitlines()[0]) == (0, "old pool:   web: RUNNING, cache-1, 2 nodes, 2 Ready, 0 cordoned")
    code, _, err = run(sandbox, tmp_path, "wbe", "--status")
    assert (code, err) == (1, "error: there is no node pool wbe\nhint: there are default-pool, web\n")


def test_events_are_a_line_of_json_each(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox)
    code, out, err = run(sandbox, tmp_path, *ROLL, "-o", "json")
    events = lines(out)
    assert (code, err) == (0, "")
    assert [event["kind"] for event in events[:2]] == ["preflight", "create"]
    assert events[-1] == {"kind": "end", "text": "web is replaced by web-r2", "back": False}
    assert {"scale", "cordon", "mark", "evict", "delete"} <= {event["kind"] for event in events}


def test_a_whole_roll_can_be_watched_on_a_sandbox(program: Program) -> None:
    found = program.imagecache("roll", "web", "--disk-image", "web-2026-01", "--repin", "--sandbox")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines()[-1].endswith("web is replaced by web-r2")


def test_a_sandbox_whose_time_runs_by_itself_is_rolled_all_the_same(tmp_path: Path) -> None:
    with Sandbox(replace(settings(), speed=60.0)) as running:
        stage(running)
        code, _, err = run(running, tmp_path, *ROLL)
        assert (code, err) == (0, "")
        assert state_of(running) == ROLLED
