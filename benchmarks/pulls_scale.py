"""How folding events scales: CPU and peak memory of `pulls`' reader, beside the kubernetes package's models.

    python -m benchmarks.pulls_scale                    # 200,000 events of each mix; takes two minutes
    python -m benchmarks.pulls_scale --events 20000 --mix images

Two mixes: `ordinary` has the five events of each pod's start, `images` only those two of them that are about its image.

A server process makes the pages (its CPU is not counted); each reader is a process of its own, measured by wait4, with
its imports. Both are sent all events (a real server would spare our reader most of those that aren't about images, for
which it asks with a field selector), read pages of 500 over loopback and parse every Pulled message. Figures are ratios
within one run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 500
NODES = 2000
MOST_MIB = 150
LEAST_RATIO = 10
REPOSITORY = "europe-west4-docker.pkg.dev/acme/serving"
MANAGED = [
    {
        "manager": "kubelet",
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-01-15T08:30:00Z",
        "fieldsV1": {f"f:{name}": {} for name in ("count", "firstTimestamp", "involvedObject", "message", "reason")},
    }
]


def message(number: int) -> tuple[str, str]:
    """Reason and message: the five events of each pod's start, a failed pull or an image already there among them."""
    pod = number // 5
    image = f"{REPOSITORY}/service-{pod % 80}:1.{pod % 3}"
    wait = f"({pod % 60}.{pod % 1000:03d}s including waiting). Image size: {pod % 900}000000 bytes."
    return (
        ("Scheduled", f"Successfully assigned serving/service-{pod % 80}-6d4cf56db6-{pod:07x} to node-{pod % NODES}"),
        ("Failed", f'Failed to pull image "{image}": rpc error: code = Unavailable desc = connection reset by peer')
        if pod % 50 == 7
        else ("Pulling", f'Pulling image "{image}"'),
        ("Pulled", f'Container image "{image}" already present on machine')
        if pod % 4 == 3
        else ("Pulled", f'Successfully pulled image "{image}" in {pod % 50}.{pod % 997:03d}s {wait}'),
        ("Created", "Created container: main"),
        ("Started", "Started container main"),
    )[number % 5]


def event(number: int) -> dict[str, Any]:
    reason, text = message(number)
    node = f"gke-shop-pool-{number // 5 % 8}-{number // 5 % NODES:06x}"
    name = f"service-{number // 5 % 80}-6d4cf56db6-{number // 5:07x}"
    stamp = f"2026-01-15T08:{number // 60 % 60:02d}:{number % 60:02d}Z"
    uid = f"00000000-0000-4000-8000-{number:012x}"
    about = {
        "kind": "Pod",
        "namespace": "serving",
        "name": name,
        "uid": uid,
        "apiVersion": "v1",
        "resourceVersion": "1",
    }
    return {
        "metadata": {
            "name": f"{name}.{number:016x}",
            "namespace": "serving",
            "uid": uid,
            "resourceVersion": str(number),
            "creationTimestamp": stamp,
            "managedFields": MANAGED,
        },
        "involvedObject": about | {"fieldPath": f"spec.containers{{c{number % 5}}}"},
        "reason": reason,
        "message": text,
        "source": {"component": "kubelet", "host": node},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "type": "Normal",
        "eventTime": None,
        "reportingComponent": "kubelet",
        "reportingInstance": node,
    }


def numbers(mix: str, events: int) -> list[int]:
    """Which of all events are served: every one, or the second and third of each pod's five."""
    if mix == "ordinary":
        return list(range(events))
    return [5 * (place // 2) + 1 + place % 2 for place in range(events)]


def serve(mix: str, events: int, port: Any) -> None:
    pages: list[bytes] = []
    all_of_them = numbers(mix, events)
    for start in range(0, events, PAGE):
        items = [event(number) for number in all_of_them[start : start + PAGE]]
        token = str(start + PAGE) if start + PAGE < events else ""
        head = {"kind": "EventList", "apiVersion": "v1", "metadata": {"resourceVersion": "9", "continue": token}}
        pages.append(json.dumps(head | {"items": items}).encode())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            start = int(parse_qs(url.query).get("continue", ["0"])[0])
            empty = b'{"kind":"List","apiVersion":"v1","metadata":{},"items":[]}'
            body = pages[start // PAGE] if url.path.endswith("/events") else empty
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


OURS = """
from kubectl_imagecache.clients.kube import Kube, KubeOptions
from kubectl_imagecache.clients.kube.pull_feed import read_all
from kubectl_imagecache.core.pull_ledger import Ledger
{decide}
ledger = Ledger()
gaps = read_all(Kube.connect(KubeOptions()), (), ledger.add, lambda pod: True, ledger.hear)
assert ledger.events == {images} and not gaps and not ledger.unknown, (ledger.events, gaps)
{report}
"""
REPORT = """
origin = Origin("c", "x", "live", datetime.now(timezone.utc))
report = decide(ledger, origin, By.IMAGE)
assert len(report.pulls) == {pulls} and len(report.groups) > 80
"""
DECIDE = """
from datetime import datetime, timezone
from kubectl_imagecache.core.pull_report import Origin, decide
from kubectl_imagecache.core.pull_stats import By
"""
MODELS = """
from kubernetes import client, config
from kubectl_imagecache.core.pulls import parse_pulled
config.load_kube_config()
api = client.CoreV1Api()
token, found, pulls = None, 0, []
while True:
    page = api.list_event_for_all_namespaces(limit=500, _continue=token)
    for event in page.items:
        found += 1
        if event.reason == "Pulled" and (told := parse_pulled(event.message)):
            pulls.append((event.source.host, event.involved_object.name, told, event.last_timestamp))
    token = page.metadata._continue
    if not token:
        break
assert found == {events}, found
"""


def measure(code: str, env: dict[str, str]) -> tuple[float, float]:
    """CPU seconds and peak MiB of a Python process that runs CODE."""
    process = subprocess.Popen([sys.executable, "-c", code], env=env)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("a reader failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def run(mix: str, events: int, readers: dict[str, str]) -> dict[str, tuple[float, float]]:
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    server = context.Process(target=serve, args=(mix, events, send), daemon=True)
    server.start()
    port = receive.recv()
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "config"
            cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
            names = {"name": "x", "context": {"cluster": "c", "user": "u"}}
            users = [{"name": "u", "user": {}}]
            document = {"current-context": "x", "clusters": [cluster], "contexts": [names], "users": users}
            path.write_text(json.dumps(document))
            root = str(Path(__file__).resolve().parents[1])
            env = {**os.environ, "KUBECONFIG": str(path), "PYTHONPATH": root}
            return {name: measure(code, env) for name, code in readers.items()}
    finally:
        server.terminate()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--mix", choices=["ordinary", "images"], action="append")
    asked = parser.parse_args()
    for mix in asked.mix or ["ordinary", "images"]:
        compare(mix, asked.events)


def compare(mix: str, events: int) -> None:
    """Print one mix's part of the table."""
    reasons = [message(number)[0] for number in numbers(mix, events)]
    pulls = reasons.count("Pulled")
    images = pulls + reasons.count("Pulling") + reasons.count("Failed")
    readers = {
        "fold": OURS.format(events=events, images=images, decide="", report=""),
        "fold and report": OURS.format(
            events=events, images=images, decide=DECIDE, report=REPORT.format(pulls=pulls, events=events)
        ),
        "the kubernetes package's models": MODELS.format(events=events),
    }
    print(f"{mix}: {events:,} events, {images:,} of them about images")
    costs = run(mix, events, readers)
    for name, (cpu_s, peak) in costs.items():
        print(f"  {name:35} {cpu_s:7.2f} s CPU {peak:6.0f} MiB")
    (ours, mib), _, (models, _) = costs.values()
    print(f"  the models take {models / ours:.1f} times the CPU of the fold, imports included")
    kept = "kept" if models / ours >= LEAST_RATIO and mib <= MOST_MIB else "NOT kept"
    print(f"  the aim of at least {LEAST_RATIO} times and at most {MOST_MIB} MiB is {kept}")


if __name__ == "__main__":
    main()
