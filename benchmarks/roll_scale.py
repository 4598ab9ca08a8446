"""How `roll` scales: requests and time for moving a big pool, beside `kubectl drain` on the same kind of server.

    python -m benchmarks.roll_scale                     # 1,000 nodes, 30,000 pods that end in 10, 30 and 60 s; kubectl
    python -m benchmarks.roll_scale --nodes 100 --pods 3000 --latency 10 --no-kubectl

The roll runs in the sandbox's virtual time, in which computing takes none: what it takes beyond the operations of GKE
and the waves of ending pods is our waiting. Our own CPU, which a real cluster would wait for, is measured and told
beside it. kubectl has no other time than the real one: it drains a few of the nodes, the sandbox's time running along.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.kube.objects import ENDS_AFTER
from kubectl_imagecache.sandbox.scenarios import shelf
from kubectl_imagecache.sandbox.scenarios.huge import placements, replica_set, running_pod
from kubectl_imagecache.sandbox.scenarios.stage import (
    LOCATION,
    PROJECT,
    DiskImageSpec,
    PoolSpec,
    Stage,
    add_disk_image,
    add_pool,
    nodes_of,
)
from kubectl_imagecache.sandbox.scenarios.workloads import Workload, add_namespaces

SERVICES, TEAMS = 100, 20
IMAGES = (f"{shelf.GATEWAY}:7.13.2", f"{shelf.OTEL}:0.112.0")
BUDGET = "20%"
"""Of a service's pods may be missing."""


def build(sandbox: Sandbox, nodes: int, pods: int, latency_s: float) -> None:
    """A pool `web` of NODES with PODS of SERVICES services on it, each of which takes LATENCY_S to end."""
    stage = Stage(sandbox.world, sandbox.catalog, sandbox.kube, sandbox.cloud, sandbox.cluster, sandbox.settings.now)
    for metric in ("CPUS", "N2_CPUS", "INSTANCES", "DISKS_TOTAL_GB", "SSD_TOTAL_GB", "IN_USE_ADDRESSES"):
        stage.cloud.limit(metric, 1e9)
    cluster = sandbox.cloud.state.find(f"projects/{PROJECT}/locations/{LOCATION}/clusters/{sandbox.cluster}")
    assert cluster is not None
    cluster["clusterIpv4Cidr"] = "10.0.0.0/11"  # Addresses for 8,192 nodes: for a while there are twice as many.
    add_namespaces(stage, {f"team-{number % TEAMS:02}" for number in range(SERVICES)})
    for disk in ("cache-1", "cache-2"):
        add_disk_image(stage, DiskImageSpec(disk, IMAGES))
    zones = tuple(f"{LOCATION}-{zone}" for zone in "abc") if nodes % 3 == 0 else (f"{LOCATION}-a",)
    add_pool(stage, PoolSpec("web", nodes, "cache-1", machine_type="n2-standard-64", zones=zones))
    names = [str(node["metadata"]["name"]) for node in nodes_of(stage, "web")]
    for number in range(SERVICES):
        count = pods // SERVICES + (number < pods % SERVICES)
        team = f"team-{number % TEAMS:02}"
        workload = Workload(f"service-{number:03}", IMAGES, "", count, team, cpu="100m")
        owner = replica_set(stage, workload, {ENDS_AFTER: f"{latency_s:g}"})
        pod = running_pod(stage, workload, owner)
        pod["spec"]["terminationGracePeriodSeconds"] = math.ceil(latency_s) + 5  # A pod's grace would cut it short.
        first = number * nodes // SERVICES  # So that every node has as many pods.
        stage.kube.add_bulk_pods(pod, placements(owner["metadata"]["name"], count, names[first:] + names[:first]))
        about = {"name": workload.name, "namespace": team}
        spec = {"maxUnavailable": BUDGET, "selector": {"matchLabels": {"app": workload.name}}}
        stage.kube.create({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": about, "spec": spec})
    sandbox.world.clock.advance(60)


def serve(nodes: int, pods: int, latency_s: float, speed: float, out: Any) -> None:
    with Sandbox(Settings("empty", speed=speed)) as sandbox:
        with sandbox.world.lock:
            build(sandbox, nodes, pods, latency_s)
        out.send(sandbox.env())
        while True:
            time.sleep(0.05)
            sandbox.tick()


@contextmanager
def server(nodes: int, pods: int, latency_s: float, speed: float = 0.0) -> Iterator[dict[str, str]]:
    """The environment of such a sandbox, in a process of its own."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(nodes, pods, latency_s, speed, send), daemon=True)
    process.start()
    try:
        yield receive.recv()
    finally:
        process.kill()
        process.join()


def ask(env: dict[str, str], what: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{env['KUBECTL_IMAGECACHE_SANDBOX_CONTROL']}/_sandbox/{what}", timeout=300) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@dataclass(frozen=True)
class Cost:
    """What one command took."""

    requests: Counter[str]
    """By service and verb."""
    virtual_s: float
    real_s: float
    cpu_s: float
    peak_mib: float


def measure(command: list[str], env: dict[str, str]) -> Cost:
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile() as output:
        whole = {"PATH": os.environ["PATH"], "HOME": home, "USER": "bench", **env}
        first, begun, real = ask(env, "calls")["next"], ask(env, "now")["now"], time.monotonic()
        process = subprocess.Popen(command, env=whole, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        _, code, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - real
        if code:
            output.seek(0)
            raise SystemExit(f"{command[:3]} failed: {output.read()[-2000:].decode()}")
    ended = ask(env, "now")["now"]
    calls = ask(env, f"calls?since={first}")["calls"]
    asked = Counter(f"{call['service']} {verb(call)}" for call in calls)
    virtual = (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds()
    return Cost(asked, virtual, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def verb(call: dict[str, Any]) -> str:
    if "/eviction" in call["target"]:
        return "evict"
    return "watch" if "watch=" in call["target"] else str(call["method"])


def operations_s(env: dict[str, str]) -> float:
    """How long GKE's operations took."""
    base = env["CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER"]
    with urllib.request.urlopen(f"{base}v1/projects/{PROJECT}/locations/-/operations", timeout=60) as answer:
        found = json.load(answer)["operations"]
    moments = [
        [datetime.fromisoformat(one[key].replace("Z", "+00:00")) for key in ("startTime", "endTime")] for one in found
    ]
    return sum((end - start).total_seconds() for start, end in moments)


def ours(nodes: int, pods: int, latency_s: float, at_once: int) -> None:
    with server(nodes, pods, latency_s) as env:
        command = [sys.executable, "-m", "kubectl_imagecache", "roll", "web", "--disk-image", "cache-2", "--yes"]
        cost = measure([*command, "--max-unavailable", str(at_once), "-o", "json"], env)
        waves, operations = math.ceil(nodes / at_once) * latency_s, operations_s(env)
    total = sum(cost.requests.values())
    print(f"roll, pods end in {latency_s:g} s, {at_once} nodes at once: {nodes} nodes, {pods} pods")
    print(f"  requests: {total}, {total / nodes:.2f} a node; {dict(cost.requests)}")
    over, busy, unavoidable = cost.virtual_s - waves - operations, cost.cpu_s, waves + operations
    print(
        f"  {cost.virtual_s:.0f} s: GKE's operations {operations:.0f} s, ending pods {waves:.0f} s, {over:.1f} s more"
    )
    print(f"  that is {100 * over / waves:.1f} % of the ending pods' time, {100 * over / unavoidable:.1f} % of all")
    print(
        f"  our CPU {busy:.1f} s, {1000 * busy / pods:.2f} ms a pod: {100 * (over + busy) / unavoidable:.1f} % with it"
    )
    print(f"  peak {cost.peak_mib:.0f} MiB; {cost.real_s:.0f} s of real time, most of it the sandbox's", flush=True)


def theirs(nodes: int, pods: int, latency_s: float, few: int) -> None:
    with server(nodes, pods, latency_s, speed=1.0) as env:
        listed = ["kubectl", "get", "nodes", "-l", "cloud.google.com/gke-nodepool=web", "-o", "name"]
        found = subprocess.run(listed, env=os.environ | env, capture_output=True, text=True, check=True)
        names = found.stdout.split()[:few]
        cost = measure(["kubectl", "drain", *names, "--ignore-daemonsets"], env)
    total = sum(cost.requests.values())
    evicted = cost.requests["kube evict"]
    print(f"kubectl drain, pods end in {latency_s:g} s, {few} of {nodes} nodes, {evicted} evictions")
    print(f"  requests: {total}, {total / few:.2f} a node; {dict(cost.requests)}")
    print(
        f"  time: {cost.real_s:.0f} s, of which {few * latency_s:.0f} s unavoidable for one node at a time", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=30_000)
    parser.add_argument("--latency", type=float, action="append", help="seconds that a pod takes to end (repeatable)")
    parser.add_argument(
        "--at-once", type=int, default=0, help="--max-unavailable; a twentieth of the nodes if not told"
    )
    parser.add_argument("--few", type=int, default=10, help="nodes that kubectl drains")
    parser.add_argument("--no-kubectl", action="store_true", help="leave kubectl out: it takes real time")
    options = parser.parse_args()
    latencies = options.latency or [10.0, 30.0, 60.0]
    for latency_s in latencies:
        ours(options.nodes, options.pods, latency_s, options.at_once or max(1, options.nodes // 20))
    if not options.no_kubectl:
        theirs(options.nodes, options.pods, latencies[0], min(options.few, options.nodes))


if __name__ == "__main__":
    main()
