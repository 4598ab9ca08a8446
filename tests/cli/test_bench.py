from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.scenarios.pulls import DISK, MODEL_SERVER
from kubectl_imagecache.sandbox.scenarios.stage import LOCATION, PROJECT
from tests.cli.conftest import Program, start
from tests.cli.killing import KillAt, struck
from tests.schemas import whole

POOLS = ("--pool", "plain", "--pool", "streaming", "--pool", "cached")
BENCH = ("--image", MODEL_SERVER, *POOLS)
TWO = ("--image", MODEL_SERVER, "--pool", "plain", "--pool", "cached", "--nodes", "1", "--yes")
MAKE = ("--image", MODEL_SERVER, "--create-pools", "--like", "cached", "--nodes", "1", "--yes")
NOTHING_LEFT: dict[str, list[str]] = {"pods": [], "jobs": [], "pools": []}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Settings("bench")) as running:
        yield running


def begin(sandbox: Sandbox, home: Path, *args: str) -> subprocess.Popen[str]:
    return start(sandbox, home, "bench", *args)


def run(sandbox: Sandbox, home: Path, *args: str) -> tuple[int, str, str]:
    process = begin(sandbox, home, *args)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def left(sandbox: Sandbox) -> dict[str, list[str]]:
    """What a bench made and is still there."""
    cluster = f"projects/{PROJECT}/locations/{LOCATION}/clusters/{sandbox.cluster}"
    pools = sandbox.cloud.state.collection(f"{cluster}/nodePools")
    names = {
        "pods": [pod["metadata"]["name"] for pod in sandbox.kube.objects("Pod")],
        "jobs": [job["metadata"]["name"] for job in sandbox.kube.objects("Job")],
        "pools": list(pools),
    }
    return {kind: [name for name in found if name.startswith("imagecache-bench-")] for kind, found in names.items()}


def patch_status(sandbox: Sandbox, node: str, status: dict[str, Any]) -> None:
    url = f"{sandbox.url('kube')}/api/v1/nodes/{node}/status"
    body, headers = json.dumps({"status": status}).encode(), {"Content-Type": "application/merge-patch+json"}
    with urlopen(Request(url, body, headers, method="PATCH")) as answer:
        assert answer.status == 200


def pulls(found: dict[str, Any]) -> dict[str, int]:
    return {pool["name"].rpartition("-")[2]: pool["pulls"] for pool in found["pools"]}


@pytest.mark.parametrize("cells", ["80", "160"])
def test_the_three_ways_look_as_when_they_were_last_looked_at(
    program: Program, cells: str, golden: Callable[[str, str], None]
) -> None:
    found = program.imagecache("bench", *BENCH, "--sandbox=bench", "--plot", COLUMNS=cells)
    assert found.returncode == 0, found.stderr
    golden(f"bench-{cells}.txt", found.stdout)


def test_the_three_ways_come_out_near_the_public_figures(sandbox: Sandbox, tmp_path: Path) -> None:
    page = tmp_path / "b.html"
    code, out, err = run(sandbox, tmp_path, *BENCH, "--repeat", "2", "-o", "json", "--yes", "--html", str(page))
    assert code == 0, err
    found = whole(out)
    registry, streaming, disk = found["pools"]
    assert registry["firstSeconds"]["median"] == pytest.approx(55, rel=0.1)
    assert registry["laterSeconds"]["median"] == pytest.approx(43, rel=0.1)
    assert streaming["firstSeconds"]["median"] == pytest.approx(53, rel=0.1)
    assert streaming["laterSeconds"]["max"] < 1
    assert disk["firstSeconds"]["median"] < 1 and disk["laterSeconds"]["max"] < 1
    assert [pool["method"] for pool in found["pools"]] == ["registry", "image streaming", "cache disk"]
    assert (registry["laterSeconds"]["count"], found["baseline"], disk["ratioLater"] > 40) == (3, "plain", True)
    for sample in found["samples"]:
        assert -1 <= sample["runningSeconds"] - sample["pulledSeconds"] <= 3
    nodes = [sample["node"] for sample in found["samples"]]
    assert len(nodes) == len(set(nodes)) == 12
    assert left(sandbox) == NOTHING_LEFT
    assert "<svg" in page.read_text()


def test_nodes_that_have_the_image_are_said_and_not_counted(program: Program) -> None:
    found = program.imagecache("bench", *BENCH, "--sandbox=pulls", "-o", "json")
    report = whole(found.stdout)
    assert (found.returncode, pulls(report)) == (5, {"plain": 0, "streaming": 0, "cached": 0})
    assert {len(pool["skipped"]) for pool in report["pools"]} == {4}
    table = program.imagecache("bench", *BENCH, "--sandbox=pulls").stdout
    assert "had the image already: skipped, and not counted as a pull" in table
    assert "it would take 2 more fresh nodes; --scale-up lets the autoscaler bring some" in table


def test_a_node_that_hides_the_image_is_found_out_by_the_kubelets_word(sandbox: Sandbox, tmp_path: Path) -> None:
    assert run(sandbox, tmp_path, *TWO)[0] == 0
    for node in sandbox.kube.objects("Node"):
        patch_status(sandbox, node["metadata"]["name"], {"images": []})
    code, out, _ = run(sandbox, tmp_path, *TWO, "--nodes", "4", "-o", "json")
    assert (code, pulls(whole(out))) == (5, {"plain": 3, "cached": 3})


def test_the_autoscaler_brings_fresh_nodes_where_there_are_none(sandbox: Sandbox, tmp_path: Path) -> None:
    code, out, err = run(sandbox, tmp_path, *TWO, "--nodes", "6", "--scale-up", "-o", "json")
    assert code == 0, err
    assert pulls(whole(out)) == {"plain": 6, "cached": 6}
    assert left(sandbox) == NOTHING_LEFT


def test_pools_are_made_for_the_experiment_and_deleted(sandbox: Sandbox, tmp_path: Path) -> None:
    code, out, err = run(sandbox, tmp_path, *MAKE, "--nodes", "2", "-o", "json")
    assert code == 0, err
    found = whole(out)
    assert pulls(found) == {"registry": 2, "streaming": 2, "disk": 2}
    assert [pool["method"] for pool in found["pools"]] == ["registry", "image streaming", "cache disk"]
    assert "6 nodes for about 0.6 hours, some $1.32" in err
    assert found["differences"] == []
    assert left(sandbox) == NOTHING_LEFT


def test_a_dry_run_changes_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    for args in (TWO, MAKE):
        sandbox.world.calls.clear()
        code, out, _ = run(sandbox, tmp_path, *args, "--dry-run")
        assert (code, "makes one small pod at a time in the namespace default" in out) == (0, True)
        assert {call.method for call in sandbox.world.calls} == {"GET"}


def test_pools_that_differ_are_refused_unless_they_may(sandbox: Sandbox, tmp_path: Path) -> None:
    args = ("--image", MODEL_SERVER, "--pool", "cached", "--pool", "default-pool", "--nodes", "1", "--yes")
    code, _, err = run(sandbox, tmp_path, *args)
    assert (code, left(sandbox)) == (1, NOTHING_LEFT)
    assert err == (
        "error: the pools differ in more than the way to pull: machine type: cached has n2-standard-8, default-pool "
        "has e2-standard-4\nhint: choose like pools, or compare them --anyway\n"
    )
    code, out, _ = run(sandbox, tmp_path, *args, "--anyway", "-o", "json")
    assert (code, [one["what"] for one in whole(out)["differences"]]) == (0, ["machine type"])


def test_without_google_nodes_labels_tell_the_pools_facts(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.cloud.deny("container.clusters.get")
    code, out, err = run(sandbox, tmp_path, *TWO, "-o", "json")
    found = whole(out)
    assert (code, pulls(found), found["pools"][0]["facts"]["knownFrom"]) == (0, {"plain": 1, "cached": 1}, "nodes")
    assert "warning: the pools' facts in GKE not read: not permitted: container.clusters.get" in err


def test_an_image_that_is_not_there_is_given_up_and_nothing_stays(sandbox: Sandbox, tmp_path: Path) -> None:
    code, out, _ = run(sandbox, tmp_path, "--image", f"{MODEL_SERVER}9", "--pool", "plain", "--yes", "-o", "json")
    (plain,) = whole(out)["pools"]
    assert (code, plain["pulls"], left(sandbox)) == (5, 0, NOTHING_LEFT)
    assert "not found" in plain["givenUp"]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_who_is_asked_to_end_shows_what_there_is_and_leaves_nothing(
    sandbox: Sandbox, tmp_path: Path, sign: signal.Signals
) -> None:
    process = begin(sandbox, tmp_path, *BENCH, "--yes", "-o", "json", "--nodes", "4")
    while not sandbox.kube.objects("Job"):
        assert process.poll() is None
    process.send_signal(sign)
    out, _ = process.communicate(timeout=60)
    found = whole(out)
    assert (process.returncode, found["endedEarly"], left(sandbox)) == (130, "interrupted", NOTHING_LEFT)
    assert sum(pulls(found).values()) < 12


def test_a_pull_that_never_ends_is_given_up_after_its_time(sandbox: Sandbox, tmp_path: Path) -> None:
    code, out, _ = run(sandbox, tmp_path, *TWO, "--timeout", "20s", "-o", "json")
    plain, cached = whole(out)["pools"]
    assert (code, plain["pulls"], cached["pulls"], left(sandbox)) == (5, 0, 1, NOTHING_LEFT)
    assert plain["givenUp"] == "nothing came of it in 20 s: it is still being pulled"


class KillAtChange(KillAt):
    """Kills at the Nth request that changes something: between two of these the cluster is the same."""

    def counts(self, service: str, method: str, target: str) -> bool:
        return (ALL or method != "GET") and "/_sandbox/" not in target


# Every change, before and after it is done, with BENCH_KILL_STRIDE=1; every request besides with BENCH_KILL_ALL=1.
STRIDE, ALL = int(os.environ.get("BENCH_KILL_STRIDE", "0")), bool(os.environ.get("BENCH_KILL_ALL"))


@pytest.mark.parametrize(("args", "stride"), [(TWO, 7), (MAKE, 26)], ids=["pools", "create-pools"])
def test_killed_at_every_change_in_turn_a_second_run_goes_on_and_leaves_nothing(
    tmp_path: Path, args: tuple[str, ...], stride: int
) -> None:
    stride, moment, killed = STRIDE or stride, 1, 0
    while True:
        # Odd moments are before a change, even ones after it.
        number, performed = (moment + 1) // 2, moment % 2 == 0
        with Sandbox(Settings("bench")) as sandbox:
            killer = KillAtChange(number=number, performed=performed)
            ended = struck(sandbox, killer, partial(begin, sandbox, tmp_path, *args))
            if ended == 0:
                break
            assert ended == -signal.SIGKILL
            killed += 1
            go_on(sandbox, tmp_path, args, moment, swept=killed % 3 == 0)
            print(f"killed at moment {moment}, {number} requests", flush=True)
        moment += stride
    assert killed * stride > 18


def go_on(sandbox: Sandbox, home: Path, args: tuple[str, ...], moment: int, swept: bool) -> None:
    """The run that comes after one that was killed: the same again, or only a sweep."""
    if swept:
        code, _, err = run(sandbox, home, "--sweep", "--yes")
        assert (moment, code) == (moment, 0), err
    else:
        code, out, err = run(sandbox, home, *args, "-o", "json")
        assert (moment, code) == (moment, 0), err
        assert (moment, set(pulls(whole(out)).values())) == (moment, {1})
    assert (moment, left(sandbox)) == (moment, NOTHING_LEFT)


def test_a_sweep_leaves_alone_what_somebody_works_on(sandbox: Sandbox, tmp_path: Path) -> None:
    process = begin(sandbox, tmp_path, *BENCH, "--yes", "--nodes", "4")
    while not sandbox.kube.objects("Job"):
        assert process.poll() is None
    code, out, _ = run(sandbox, tmp_path, "--sweep", "--yes")
    process.communicate(timeout=60)
    assert (code, process.returncode) == (0, 0)
    assert "which is worked on" in out


def kill_one(sandbox: Sandbox, home: Path) -> None:
    """Begin a run, and kill it in its midst."""
    assert struck(sandbox, KillAt(number=40), lambda: begin(sandbox, home, *TWO)) == -signal.SIGKILL


def test_a_run_that_asks_for_something_else_is_swept_and_not_gone_on_with(sandbox: Sandbox, tmp_path: Path) -> None:
    kill_one(sandbox, tmp_path)
    (job,) = left(sandbox)["jobs"]
    code, out, _ = run(sandbox, tmp_path, *TWO, "--nodes", "2", "-o", "json")
    assert (code, whole(out)["run"] != job.rpartition("-")[2], left(sandbox)) == (0, True, NOTHING_LEFT)


def test_the_cluster_itself_removes_a_run_that_nobody_comes_back_to(sandbox: Sandbox, tmp_path: Path) -> None:
    kill_one(sandbox, tmp_path)
    assert left(sandbox)["pods"] and left(sandbox)["jobs"]
    with sandbox.world.lock:
        sandbox.world.clock.advance(2 * 3600)
    assert left(sandbox) == NOTHING_LEFT


def test_where_nobody_can_be_asked_yes_is_needed(sandbox: Sandbox, tmp_path: Path) -> None:
    code, _, err = run(sandbox, tmp_path, *BENCH)
    assert (code, err.splitlines()[-2:]) == (2, ["error: nobody is there to be asked", "hint: add --yes"])
    assert left(sandbox) == NOTHING_LEFT


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "error: --image is missing\nhint: name the container image to pull"),
        (("--image", "nginx"), "error: --pool is missing\nhint: name the pools to compare, or --create-pools"),
        (("--image", "UPPER", "--pool", "x"), "error: not an image reference: 'UPPER'"),
        (("--image", "nginx", "--pool", "x", "--like", "y"), "error: --like needs --create-pools"),
        (("--image", "nginx", "--pool", "x", "--create-pools"), "error: --create-pools and --pool exclude each other"),
        (("--image", "nginx", "--pool", "x", "--run", "--command", "a"), "error: --run and --command exclude each"),
        (("--image", "nginx", "--pool", "x", "--timeout", "0"), "error: Invalid value for '--timeout'"),
        (("--image", "nginx", "--pool", "x", "--plot=x.gif"), "error: --plot can't tell what 'x.gif' is to be"),
        (("--image", "nginx", "--pool", "plaim", "--sandbox=bench"), "error: no node pool 'plaim' in this cluster\n"),
        (("--image", "nginx", "--create-pools", "--sandbox=bench"), "error: --like is missing"),
        (
            ("--image", "nginx", "--create-pools", "--like", "plain", "--sandbox=bench"),
            "error: --disk-image is missing, and plain has no cache disk",
        ),
        (
            ("--image", "nginx", "--pool", "plain", "--scale-up", "--nodes", "9", "--sandbox=bench"),
            "error: pool plain has 4 nodes and would need 5 more, but its autoscaler stops at 8",
        ),
        (
            ("--image", "nginx", "--pool", "default-pool", "--scale-up", "--sandbox=bench"),
            "error: pool default-pool has no autoscaling, so --scale-up would bring nothing",
        ),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said_in_one_line(program: Program, args: tuple[str, ...], said: str) -> None:
    found = program.imagecache("bench", *args)
    assert found.returncode in (1, 2)
    assert found.stderr.startswith(said)
    assert len(found.stderr.splitlines()) <= 2


def test_every_format_is_printed(program: Program) -> None:
    for output in ("wide", "yaml", "custom-columns=P:.name"):
        args = ("--image", MODEL_SERVER, "--pool", "cached", "--nodes", "1", "--sandbox=bench", "-o", output)
        found = program.imagecache("bench", *args)
        assert found.returncode == 0, output
        assert found.stdout.strip(), output


def test_the_disk_that_the_third_pool_gets_can_be_named(sandbox: Sandbox, tmp_path: Path) -> None:
    args = ("--image", MODEL_SERVER, "--create-pools", "--like", "plain", "--disk-image", DISK.name, "--dry-run")
    code, out, _ = run(sandbox, tmp_path, *args)
    assert (code, f"cache disk {DISK.name}" in out) == (0, True)
