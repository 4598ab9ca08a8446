"""Measures the on-VM build beside the plain way: pull one image after another, copy its snapshots, hash the copies.

    sudo python -m benchmarks.builder [--scenario big|small|throttled] [--images 5] [--runs 1] [--folder /var/tmp]

Both ways get the same images from the same docker-registry and end with a flushed, unmounted ext4 on a loop device.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from kubectl_imagecache.builder import bundle
from kubectl_imagecache.builder.images import chain_ids
from kubectl_imagecache.builder.job import RegistryAccess, Target, encode
from kubectl_imagecache.builder.layout import read_snapshots
from kubectl_imagecache.builder.report import read
from tests.builder import factories, machines, runs
from tests.builder.factories import Pushed

MIB = 1024 * 1024
RATE = 20_000_000
"""Bytes a second and connection, in the throttled scenario."""


@dataclass(frozen=True)
class Measured:
    wall_s: float
    cpu_s: float
    written: int
    """Bytes that reached the block devices."""


def layer(seed: int, mib: int) -> factories.Layer:
    """A gzip layer of some MIB: this machine's own files, and a little noise for what does not compress."""
    source = random.Random(seed)
    files = _machine_files()
    # As builders write layers: with the directories above what they hold.
    names = ["opt", f"opt/app{seed}", *(f"opt/app{seed}/{n}" for n in range(97))]
    members = [(factories.member(name, tarfile.DIRTYPE), b"") for name in names]
    size, number = 0, 0
    while size < mib * MIB:
        if source.random() < 0.985:
            path, length = files[source.randrange(len(files))]
            data = path.read_bytes()[:length]
        else:
            data = source.randbytes(source.randrange(1, 2 * MIB)) + b"text " * source.randrange(100_000)
        # A word of its own in each file: no two layers are the same.
        members.append((factories.member(f"opt/app{seed}/{number % 97}/{number}", mode=0o755), data + b"%d" % seed))
        size += len(data)
        number += 1
    tar = factories.archive(*members)
    done = subprocess.run(["gzip", "-6", "-n", "-c"], input=tar, stdout=subprocess.PIPE, check=True)
    return factories.Layer(b"", done.stdout, diff_id=factories.digest(tar))


_files: list[tuple[Path, int]] = []


def _machine_files() -> list[tuple[Path, int]]:
    if not _files:
        for root in ("/usr/lib", "/usr/share", "/usr/bin"):
            for directory, _, names in os.walk(root):
                for name in names:
                    path = Path(directory, name)
                    if path.is_file() and not path.is_symlink() and 0 < path.stat().st_size < 8 * MIB:
                        _files.append((path, path.stat().st_size))
        _files.sort()
    return _files


def big_images(host: str, count: int) -> list[Pushed]:
    """COUNT images of 200 to 500 MB unpacked: a base that all share, a middle that most share, two of their own."""
    base, middle = layer(1, 120), layer(2, 80)
    images = []
    for n in range(count):
        shared = [base, middle] if n % 5 else [base]
        own = [layer(10 + 2 * n, 60 + 40 * n), layer(11 + 2 * n, 20)]
        images.append(factories.push(host, f"bench/big{n}", [*shared, *own]))
    return images


def small_images(host: str) -> list[Pushed]:
    return [factories.push(host, "bench/small", [layer(3, 8), layer(4, 1)])]


def plainly(images: Sequence[Pushed], host: str, port: str, registry: int, work: Path) -> Measured:
    """The plain way, with containerd's data on a loop device of its own so that its writes are counted."""
    with ExitStack() as stack:
        data = stack.enter_context(machines.loop_device(work / "data.img", 12 * 1024 * MIB))
        disk = stack.enter_context(machines.loop_device(work / "plain.img", 12 * 1024 * MIB))
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", data], check=True)
        root = work / "containerd"
        root.mkdir()
        subprocess.run(["mount", data, str(root)], check=True)
        stack.callback(subprocess.run, ["umount", "-R", str(root)], check=False)
        hosts = work / "hosts" / host
        hosts.mkdir(parents=True, exist_ok=True)
        (hosts / "hosts.toml").write_text(f'[host."http://{port}"]\n  capabilities = ["pull", "resolve"]\n')
        machine = stack.enter_context(machines.containerd(root))

        def work_through() -> None:
            subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", disk], check=True)
            with _mounted(disk, work / "cache") as cache:
                for image in images:
                    machine.ctr(
                        "images",
                        "pull",
                        "--snapshotter",
                        "overlayfs",
                        "--hosts-dir",
                        str(work / "hosts"),
                        image.reference,
                    )
                (cache / "images.metadata").write_text(machine.ctr("images", "ls"))
                lines = []
                for chain_id in sorted({c for image in images for c in chain_ids(list(image.diff_ids))}):
                    lines.append(_copy(machine, chain_id, cache))
                (cache / "snapshots.metadata").write_text("".join(lines))

        return _measure(work_through, [data, disk], [registry, machine.pid])


def _copy(machine: machines.Containerd, chain_id: str, cache: Path) -> str:
    folder = machine.layer_folder(chain_id)
    copy = cache / "snapshots" / folder.parent.name / "fs"
    copy.parent.mkdir(parents=True)
    subprocess.run(["cp", "-r", "-p", str(folder), str(copy)], check=True)
    script = "find . -type f -exec md5sum {} + | cut -d' ' -f1 | LC_ALL=C sort | md5sum | cut -d' ' -f1"
    md5 = subprocess.run(["sh", "-c", script], cwd=copy, check=True, capture_output=True, text=True).stdout.strip()
    return f"{chain_id} {copy.relative_to(cache)} {md5}\n"


def streaming(images: Sequence[Pushed], host: str, port: str, registry: int, work: Path) -> tuple[Measured, int]:
    """Our way, by the program as the VM runs it; and the bytes of its layers, unpacked."""
    unpacked = 0
    with machines.loop_device(work / "ours.img", 12 * 1024 * MIB) as disk:
        job = runs.job(images, Target(device=disk), registries=[RegistryAccess(host, endpoint=f"http://{port}")])
        (work / "job.json").write_text(encode(job))
        (work / "builder.pyz").write_bytes(bundle.program())
        command = [sys.executable, "-I", str(work / "builder.pyz"), "build", str(work / "job.json")]

        def work_through() -> None:
            nonlocal unpacked
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            (filled,) = (e for line in done.stdout.splitlines() if (e := read(line)) and e.name == "filled")
            unpacked = int(filled.fields["unpacked"])

        measured = _measure(work_through, [disk], [registry])
    return measured, unpacked


def same_checksums(work: Path) -> bool:
    """Whether both disks name the same layers with the same checksums."""
    found = []
    for name in ("plain.img", "ours.img"):
        with machines.attached(work / name) as disk, machines.mounted(disk, work / "look") as root:
            found.append({(s.chain_id, s.md5) for s in read_snapshots(str(root))})
    return found[0] == found[1]


def _measure(action: Callable[[], None], devices: Sequence[str], services: Sequence[int]) -> Measured:
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3")
    before, cpu = sum(map(_written, devices)), _cpu_s(services)
    began = time.monotonic()
    action()
    wall_s = time.monotonic() - began
    cpu_s = _cpu_s(services) - cpu
    for device in devices:
        subprocess.run(["blockdev", "--flushbufs", device], check=True)
    return Measured(wall_s, cpu_s, sum(map(_written, devices)) - before)


def _written(device: str) -> int:
    return int(Path("/sys/block", Path(device).name, "stat").read_text().split()[6]) * 512


def _cpu_s(services: Sequence[int]) -> float:
    """Of the programs that were run and have ended, and of SERVICES (process ids) with all their threads."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for pid in services:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return children.ru_utime + children.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def _mounted(device: str, folder: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "ext4", device, str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def throttled(host: str) -> Iterator[str]:
    """A port that leads to HOST, RATE bytes a second and connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        thread = threading.Thread(target=_accept, args=(server, host), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def _accept(server: socket.socket, host: str) -> None:
    address, _, port = host.partition(":")
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        upstream = socket.create_connection((address, int(port)))
        for source, sink, rate in ((client, upstream, 0), (upstream, client, RATE)):
            threading.Thread(target=_pump, args=(source, sink, rate), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, rate: int) -> None:
    due = time.monotonic()
    try:
        while data := source.recv(64 * 1024):
            sink.sendall(data)
            if rate:
                due = max(due, time.monotonic() - 0.05) + len(data) / rate
                time.sleep(max(0.0, due - time.monotonic()))
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return  # one side left; the other notices by itself


def compare(name: str, images: Sequence[Pushed], host: str, port: str, registry: int, work: Path) -> float:
    """Do and print both ways; how often ours fits into the wall time of the plain one."""
    compressed = sum(len(b) for b in {layer.blob for image in images for layer in image.layers})
    for file in ("containerd", "hosts"):
        shutil.rmtree(work / file, ignore_errors=True)
    plain = plainly(images, host, port, registry, work)
    ours, unpacked = streaming(images, host, port, registry, work)
    print(f"{name}: {len(images)} images, {compressed / 1e6:.0f} MB compressed, {unpacked / 1e6:.0f} MB unpacked")
    for way, measured in (("plain", plain), ("ours", ours)):
        print(
            f"  {way:6} wall {measured.wall_s:6.1f} s   cpu {measured.cpu_s:6.1f} s   "
            f"written {measured.written / 1e6:6.0f} MB = {measured.written / unpacked:.2f} per unpacked byte"
        )
    print(f"  wall ratio {plain.wall_s / ours.wall_s:.2f}   cpu ratio {plain.cpu_s / ours.cpu_s:.2f}   ", end="")
    print(f"same checksums: {'yes' if same_checksums(work) else 'NO'}", flush=True)
    return plain.wall_s / ours.wall_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--scenario", choices=["big", "small", "throttled"], action="append")
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--folder", default="/var/tmp", help="where the disks are kept; /dev/shm is memory")
    options = parser.parse_args()
    scenarios = options.scenario or ["small", "big", "throttled"]
    work = Path(tempfile.mkdtemp(prefix="kic-bench-", dir=options.folder))
    try:
        with machines.docker_registry(work / "registry") as host, throttled(host) as slow:
            registry = machines.listener(host)
            small = small_images(host) if "small" in scenarios else []
            big = big_images(host, options.images) if set(scenarios) - {"small"} else []
            ratios: dict[str, list[float]] = {scenario: [] for scenario in scenarios}
            for _ in range(options.runs):
                for scenario in scenarios:
                    images = small if scenario == "small" else big
                    port = slow if scenario == "throttled" else host
                    ratios[scenario].append(compare(scenario, images, host, port, registry, work))
        for scenario, found in ratios.items():
            print(f"{scenario}: median wall ratio {median(found):.2f} of {len(found)}, the least {min(found):.2f}")
        print(
            f"peak memory of the largest process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024} MiB"
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
