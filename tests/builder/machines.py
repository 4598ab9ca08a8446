"""The real programs that the tests need, started on loopback and in temporary folders."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

CONTAINERD = """
version = 2
root = "{root}/lib"
state = "{root}/run"
[grpc]
  address = "{root}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_port = "0"
"""
REGISTRY = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}/data}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
BASIC = """
auth: {{htpasswd: {{realm: tests, path: {root}/htpasswd}}}}
"""


def need(*programs: str) -> None:
    """Skip the test unless every one of PROGRAMS is here and we are root; under CI fail instead."""
    missing = [program for program in programs if shutil.which(program) is None]
    if os.geteuid() != 0:
        missing.append("root")
    if not missing:
        return
    reason = f"the builder's tests against real parts need {', '.join(missing)}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def docker_registry(root: Path, login: str = "") -> Iterator[str]:
    """A registry's host and port; LOGIN is USER:PASSWORD for basic authentication."""
    root.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = (REGISTRY + (BASIC if login else "")).format(root=root, port=port)
    (root / "config.yml").write_text(config)
    if login:
        user, password = login.split(":")
        subprocess.run(["htpasswd", "-Bbc", str(root / "htpasswd"), user, password], check=True, capture_output=True)
    with running("docker-registry", "serve", str(root / "config.yml"), log=root / "log"):
        wait_for(lambda: _answers(f"http://127.0.0.1:{port}/v2/"), root / "log")
        yield f"127.0.0.1:{port}"


@dataclass(frozen=True)
class Containerd:
    """A containerd of our own, with the overlay snapshotter."""

    socket: Path
    pid: int

    def ctr(self, *arguments: str) -> str:
        done = subprocess.run(
            ["ctr", "-a", str(self.socket), "-n", "k8s.io", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pull(self, reference: str, *options: str) -> None:
        self.ctr("images", "pull", "--plain-http", "--snapshotter", "overlayfs", *options, reference)

    def layer_folder(self, chain_id: str) -> Path:
        """Where containerd has unpacked the layer CHAIN_ID."""
        # The view goes with the client's lease; it is only asked for its mount options.
        key = f"look-{time.monotonic_ns()}"
        mounts = json.loads(self.ctr("snapshots", "--snapshotter", "overlayfs", "view", "--mounts", key, chain_id))
        options = [option for option in mounts[0]["Options"] if option.startswith("lowerdir=")]
        if not options:
            return Path(mounts[0]["Source"])
        return Path(options[0].removeprefix("lowerdir=").partition(":")[0])


@contextmanager
def containerd(root: Path) -> Iterator[Containerd]:
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.toml").write_text(CONTAINERD.format(root=root))
    with running("containerd", "--config", str(root / "config.toml"), log=root / "log") as process:
        machine = Containerd(root / "containerd.sock", process.pid)
        wait_for(
            lambda: subprocess.run(["ctr", "-a", str(machine.socket), "version"], capture_output=True).returncode == 0,
            root / "log",
        )
        yield machine


@contextmanager
def loop_device(file: Path, size: int) -> Iterator[str]:
    """A block device of SIZE bytes, kept in FILE."""
    with file.open("wb") as out:
        out.truncate(size)
    with attached(file) as device:
        yield device


@contextmanager
def attached(file: Path) -> Iterator[str]:
    """The block device of FILE."""
    found = subprocess.run(["losetup", "--find", "--show", str(file)], check=True, capture_output=True, text=True)
    device = found.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@contextmanager
def mounted(device: str, folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "ext4", "-o", "ro", device, str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def wait_for(ready: object, log: Path, seconds: float = 30.0) -> None:
    assert callable(ready)
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
        time.sleep(0.05)


def listener(host: str) -> int:
    """The process id that listens on HOST (address and port)."""
    found = subprocess.run(["ss", "-Hltnp", "src", host], check=True, capture_output=True, text=True)
    return int(found.stdout.partition("pid=")[2].partition(",")[0])


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1):
            return True
    except HTTPError:
        return True
    except OSError:
        return False
