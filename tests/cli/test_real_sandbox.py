"""`rebuild --sandbox` with container images of a real registry: a real ext4 is built on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from tests.builder import machines
from tests.builder.factories import archive, gzipped, member, push
from tests.builder.runs import read
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
        held = read("--device", device, "--contents")
    assert (held.findings, held.checked) == ((), 3)
    images = {image.reference.partition("@")[0] for image in held.images}
    assert {f"{host}/team/one:v1", f"{host}/team/two:v1"} <= images


def test_a_real_disk_image_is_read_for_real_and_its_damage_is_found(
    program: Program, host: str, tmp_path: Path
) -> None:
    push(
        host,
        "team/one",
        [
            gzipped(
                archive(
                    (member("etc/base"), b"base" * 5000),
                )
            ),
            gzipped(
                archive(
                    (member("a"), b"a"),
                )
            ),
        ],
    )
    with Sandbox(Settings(scenario="empty", speed=60.0, disks=tmp_path / "disks")) as sandbox:
        env = sandbox.env()
        image = ("--image", f"{host}/team/one:v1", "--image-name", "real", "--zone", "europe-west4-b")
        made = program.imagecache("rebuild", *image, "--yes", **env)
        assert made.returncode == 0, made.stderr
        good = program.imagecache("verify", "real", "--yes", "-o", "json", **env)
        assert good.returncode == 0, good.stderr
        document = json.loads(good.stdout)
        assert (document["findings"], document["notes"]) == ([], [])
        assert (document["disk"]["filesRead"], document["disk"]["layersChecked"]) == (True, 2)
        assert [found["image"] for found in document["images"]] == [f"{host}/team/one:v1"]
        [file] = (tmp_path / "disks").glob("*.ext4")
        damage(file, b"base" * 100)
        bad = program.imagecache("verify", "real", "--yes", "--no-headers", **env)
        assert bad.returncode == 3, bad.stderr
        [finding] = bad.stdout.splitlines()
        assert finding.endswith(": the files have other contents")
    assert loops(tmp_path) == []


def damage(file: Path, known: bytes) -> None:
    """Change one byte of the file on FILE's sparse file system that begins with KNOWN."""
    with file.open("r+b") as disk:
        at, end = 0, file.stat().st_size
        while True:
            at = os.lseek(disk.fileno(), at, os.SEEK_DATA)
            until = min(os.lseek(disk.fileno(), at, os.SEEK_HOLE), end)
            disk.seek(at)
            found = disk.read(until - at).find(known)
            if found >= 0:
                disk.seek(at + found + 10)
                disk.write(b"?")
                return
            at = until


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
