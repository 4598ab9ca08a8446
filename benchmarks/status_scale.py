"""How `status` of a big cluster scales: CPU, wall time and peak memory of the whole process, beside kubectl's.

    python benchmarks/status_scale.py           # 20,000 pods on 1,000 nodes, with kubectl; then up to 100,000
    python benchmarks/status_scale.py --pods 5000 --nodes 250 --no-kubectl

A server process makes the pages (its CPU is not counted); each reader is a process of its own, measured by wait4.
Figures are ratios within one run: absolute seconds depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

IMAGES = 60
PADDING_ANNOTATION = 3600
"""Bytes of annotations: with managedFields and env they make the 8.6 kB that pods have on real clusters."""


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def pod(number: int, nodes: int) -> dict[str, Any]:
    images = [f"europe-docker.pkg.dev/shop/apps/service-{(number + k) % IMAGES}:v1.{number % 3}" for k in (0, 7)]
    containers = [
        {"name": f"c{i}", "image": image, "env": ENV, "resources": RESOURCES} for i, image in enumerate(images)
    ]
    statuses = [
        {
            "name": f"c{i}",
            "image": image,
            "imageID": f"{image.partition(':')[0]}@{digest((number + i) % IMAGES)}",
            "ready": True,
            "state": {"running": {"startedAt": "2026-01-15T08:00:00Z"}},
        }
        for i, image in enumerate(images)
    ]
    meta = {
        "name": f"service-{number % IMAGES}-6d4cf56db6-{number:07x}",
        "namespace": f"team-{number % 40}",
        "uid": f"00000000-0000-0000-0000-{number:012x}",
        "labels": {"app": f"service-{number % IMAGES}", "pod-template-hash": "6d4cf56db6"},
        "annotations": {"padding": "x" * PADDING_ANNOTATION},
        "managedFields": MANAGED,
        "creationTimestamp": "2026-01-15T08:00:00Z",
    }
    spec = {
        "nodeName": f"gke-shop-pool-{number % nodes % 8}-{number % nodes:06x}",
        "containers": containers,
        "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
        "tolerations": [
            {"key": f"node.kubernetes.io/{why}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            for why in ("not-ready", "unreachable")
        ],
        "schedulerName": "default-scheduler",
    }
    return {"metadata": meta, "spec": spec, "status": {"phase": "Running", "containerStatuses": statuses}}


ENV = [{"name": f"SETTING_{i}", "value": f"value-{i}" * 3} for i in range(12)]
RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "256Mi"}}
MANAGED = [{"manager": "kubelet", "fieldsV1": {f"f:field{i}": {"f:a": {}, "f:b": {}} for i in range(50)}}]


def node(number: int) -> dict[str, Any]:
    pool = f"pool-{number % 8}"
    labels = {f"example.com/label-{i}": f"value-{i}" for i in range(25)} | {
        "cloud.google.com/gke-nodepool": pool,
        "kubernetes.io/hostname": f"node-{number}",
        "kubernetes.io/arch": "amd64",
        "cloud.google.com/gke-secondary-boot-disk-cache-1": "CONTAINER_IMAGE_CACHE.shop",
    }
    names = [f"europe-docker.pkg.dev/shop/apps/service-{i}" for i in range(50)]
    images = [{"names": [f"{n}@{digest(i)}", f"{n}:v1.0"], "sizeBytes": 10**8 + i} for i, n in enumerate(names)]
    return {
        "metadata": {
            "name": f"gke-shop-{pool}-{number:06x}",
            "labels": labels,
            "creationTimestamp": "2026-01-15T08:00:00Z",
            "managedFields": MANAGED,
        },
        "spec": {"taints": []},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "images": images,
            "nodeInfo": {"architecture": "amd64", "kubeletVersion": "v1.31.2-gke.1354000"},
        },
    }


def serve(pods: int, nodes: int, port: Any) -> None:
    """Answer lists by pages, and enough discovery for kubectl, until killed."""
    count = {"pods": pods, "nodes": nodes, "events": 0}
    kinds = {"pods": "Pod", "nodes": "Node", "events": "Event"}
    cache: dict[tuple[str, int], bytes] = {}

    def item(resource: str, number: int) -> bytes:
        return json.dumps(pod(number, nodes) if resource == "pods" else node(number)).encode()

    def listing(resource: str, query: dict[str, list[str]]) -> bytes:
        start = int(query.get("continue", ["0"])[0])
        end = min(start + int(query.get("limit", ["1000000000"])[0]), count[resource])
        key = (resource, start)
        if key not in cache:
            cache[key] = b",".join(item(resource, number) for number in range(start, end))
        token = str(end) if end < count[resource] else ""
        head = {
            "kind": f"{kinds[resource]}List",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": "1", "continue": token},
        }
        return json.dumps(head).encode()[:-1] + b', "items": [' + cache[key] + b"]}"

    resources = [
        {"name": name, "singularName": "", "namespaced": name != "nodes", "kind": kind, "verbs": ["get", "list"]}
        for name, kind in kinds.items()
    ]
    discovery = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
        "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": resources},
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            resource = url.path.rpartition("/")[2]
            if url.path in discovery:
                body = json.dumps(discovery[url.path]).encode()
            elif resource in count:
                body = listing(resource, parse_qs(url.query))
            else:
                body = b"{}"
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    for resource in ("pods", "nodes"):  # Made before anyone measures.
        for start in range(0, count[resource], 500):
            listing(resource, {"continue": [str(start)], "limit": ["500"]})
    port.send(server.server_port)
    server.serve_forever()


@dataclass(frozen=True)
class Cost:
    cpu_s: float
    wall_s: float
    peak_mib: float


def measure(command: list[str], env: dict[str, str], output: Path = Path(os.devnull)) -> Cost:
    begun = time.monotonic()
    with output.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.DEVNULL)
    _, code, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begun
    if code:
        raise SystemExit(f"{command[0]} failed")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def told(cost: Cost) -> str:
    return f"{cost.cpu_s:6.2f} s CPU {cost.wall_s:6.2f} s {cost.peak_mib:6.0f} MiB"


def check(document: dict[str, Any], pods: int, nodes: int) -> None:
    """A reader that skipped something would be quick."""
    found = sum(use["pods"] for pool in document["pools"] for use in pool["uses"])
    assert found == 2 * pods, found
    assert sum(pool["nodes"] for pool in document["pools"]) == nodes


def run(pods: int, nodes: int, with_kubectl: bool) -> None:
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    server = context.Process(target=serve, args=(pods, nodes, send), daemon=True)
    server.start()
    port = receive.recv()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config")
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
        whole = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [cluster],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": ""}}],
        }
        config.write_text(json.dumps(whole))
        env = os.environ | {
            "KUBECONFIG": str(config),
            "HOME": folder,
            "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",  # no cloud: the nodes' labels tell the pools
        }
        answer = Path(folder, "answer.json")
        ours = measure([sys.executable, "-m", "kubectl_imagecache", "status", "-o", "json"], env, answer)
        check(json.loads(answer.read_bytes()), pods, nodes)
        line = f"{pods:7d} pods {nodes:5d} nodes  ours: {told(ours)}"
        if with_kubectl:
            theirs = measure(["kubectl", "get", "pods", "-A", "-o", "json"], env)
            line += f"  kubectl: {told(theirs)}"
            line += f"  ratios: 1/{theirs.cpu_s / ours.cpu_s:.0f} 1/{theirs.wall_s / ours.wall_s:.0f}"
            line += f" 1/{theirs.peak_mib / ours.peak_mib:.0f}"
        print(line, flush=True)
    server.kill()
    server.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, help="one run with so many pods instead of the whole table")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument(
        "--no-kubectl", action="store_true", help="leave kubectl out: it needs GiB of memory and a minute"
    )
    options = parser.parse_args()
    print(f"page of 500 pods: {500 * len(json.dumps(pod(1, 1000))) / 1e6:.1f} MB")
    if options.pods:
        run(options.pods, options.nodes, not options.no_kubectl)
        return
    run(20_000, 1_000, not options.no_kubectl)
    for pods in (10_000, 30_000, 100_000):
        run(pods, 5_000, with_kubectl=False)


if __name__ == "__main__":
    main()
