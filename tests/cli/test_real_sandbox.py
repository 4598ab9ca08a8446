"""`rebuild --sandbox` with container images of a real registry: a real ext4 is built on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builder import machines
from tests.builder.factories import archive, gzipped, member, push
from tests.builder.runs import run
from tests.cli.conftest import Program


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    machines.need("docker-registry", "losetup", "mkfs.ext4", "unshare")
    with machines.docker_registry(tmp_path / "registry") as found:
        yield found


def loops(folder: Path) -> list[str]:
    """Files of FOLDER that are loop devices now."""
    found = subprocess.run(["losetup", "-ln", "-O", "BACK-FILE"], check=True, capture_output=True, text=True).stdout
    return [line for line in found.splitlines() if line.startswith(str(folder))]


def test_real_container_images_become_a_real_ext4(program: Program, host: str, tmp_path: Path) -> None:
    base = gzipped(archive((member("etc/base"), b"base"), (member("usr/bin/tool", mode=0o4755), b"x" * 300_000)))
    for name in ("one", "two"):
        push(host, f"team/{name}", [base, gzipped(archive((member(f"app/{name}"), name.encode())))])
    named = [part for name in ("one", "two") for part in ("--image", f"{host}/team/{name}:v1")]

    made = program.imagecache(
        "rebuild", "--sandbox", *named, "--zone", "europe-west4-b", KUBECTL_IMAGECACHE_SANDBOX_DISKS=str(tmp_path)
    )
    assert made.returncode == 0, made.stderr
    assert "the sandbox plays the VM" not in made.stderr
    assert f"{host}/team/two:v1: all layers are on the disk" in made.stderr

    [disk] = tmp_path.glob("*.ext4")
    assert loops(tmp_path) == []
    with machines.attached(disk) as device:
        held = run(["verify", "--device", device])
    assert held.status == 0
    images = {str(event.fields["image"]).partition("@")[0] for event in held.events if event.name == "holds"}
    assert {f"{host}/team/one:v1", f"{host}/team/two:v1"} <= images


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_sandbox_leaves_no_device_behind(
    program: Program, host: str, tmp_path: Path, sent: signal.Signals
) -> None:
    push(host, "team/large", [gzipped(archive((member("data"), os.urandom(40_000_000))))])
    args = ("rebuild", "--sandbox", "--image", f"{host}/team/large:v1", "--zone", "europe-west4-b")
    with subprocess.Popen(
        [program.bin / "kubectl-imagecache", *args],
        env={**program.env, "KUBECTL_IMAGECACHE_SANDBOX_DISKS": str(tmp_path)},
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stderr is not None
        assert any("on the VM: layers" in line for line in running.stderr)
        assert loops(tmp_path) != []
        running.send_signal(sent)
        running.communicate(timeout=60)
    until = time.monotonic() + 30
    while loops(tmp_path) and time.monotonic() < until:
        time.sleep(0.1)
    assert loops(tmp_path) == []
