"""The sandbox's Compute with the real startup script as its VM: a real registry, a real ext4, root needed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubectl_imagecache.clients.docker_config import DockerConfig
from kubectl_imagecache.clients.google_auth import GoogleAuth
from kubectl_imagecache.clients.registry import Registry
from kubectl_imagecache.clients.registry_auth import RegistryAuth
from kubectl_imagecache.core import record
from kubectl_imagecache.core.build import ImageState
from kubectl_imagecache.core.contents import Contents
from kubectl_imagecache.core.plan import BuildPlan, RegistryLogin, Vm
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.core.wishes import Wishes
from kubectl_imagecache.sandbox.cloud import Machine
from kubectl_imagecache.usecases.plan import Order, make_plan
from kubectl_imagecache.usecases.rebuild import BuildFailed
from tests.builder import machines
from tests.builder.factories import archive, gzipped, member, push
from tests.builder.runs import read
from tests.usecases.builds import PROJECT, ZONE, MortalHttp, Workshop, workshop

# A mount namespace of its own, in which only the VM's disk is under /dev/disk.
IN_A_MACHINE = """
set -e
mount -t tmpfs none /dev/disk
mkdir -p /dev/disk/by-id
ln -s "$1" /dev/disk/by-id/google-imagecache
exec sh
"""


@dataclass(frozen=True)
class RealVm:
    """Runs the startup script that an instance carries, with a loop device as the instance's cache disk."""

    device: str

    def boot(self, machine: Machine) -> None:
        Path("/dev/disk").mkdir(exist_ok=True)
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", IN_A_MACHINE, "sh", self.device],
            input=machine.metadata("startup-script"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        machine.write_serial(done.stdout + done.stderr)


def plan_of(host: str, *repositories: str) -> BuildPlan:
    """A plan for images that the pods know under docker.io, and the VM gets from HOST."""
    http = MortalHttp()
    registry = Registry(http, RegistryAuth(http, DockerConfig({}), GoogleAuth(None)), {"docker.io": f"http://{host}"})
    wishes = Wishes(tuple(parse(f"docker.io/{repository}:v1") for repository in repositories))
    logins = (RegistryLogin("docker.io", endpoint=f"http://{host}"),)
    return make_plan(None, Order(wishes, Vm(PROJECT, ZONE), logins=logins), registry.pinned_many)


def with_real_vm(shop: Workshop, device: str) -> None:
    shop.sandbox.cloud.state.boot_hooks.clear()
    shop.sandbox.cloud.on_boot(RealVm(device).boot)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    machines.need("docker-registry", "losetup", "mkfs.ext4", "unshare")
    with machines.docker_registry(tmp_path / "registry") as found:
        yield found


def test_the_real_startup_script_fills_a_real_disk_and_the_record_is_true(host: str, tmp_path: Path) -> None:
    base = gzipped(archive((member("etc/base"), b"base"), (member("usr/bin/tool", mode=0o4755), b"x" * 300_000)))
    for name in ("one", "two"):
        push(host, f"team/{name}", [base, gzipped(archive((member(f"app/{name}"), name.encode())))])
    plan = plan_of(host, "team/one", "team/two")
    with machines.loop_device(tmp_path / "disk", plan.disk_size_gb << 30) as device, workshop() as shop:
        with_real_vm(shop, device)
        made = shop.build(plan).run()
        held = read("--device", device, "--contents")

        assert (made.state, shop.left()) == (ImageState.READY, {"images": [plan.output.ref.name]})
        assert held.findings == ()
        assert {layer.chain_id for layer in held.layers} == set(plan.layers)
        assert len(held.layers) == 3
        found = record.unpack(shop.image(made.name)["description"])
        assert isinstance(found, Contents)
        names = {image.reference for image in held.images}
        assert {str(image.ref) for image in found.images} <= names
        assert [name for name, _ in shop.events if name == "lost"] == []
        # By default the builder reads the disk back itself, once it is unmounted.
        assert [about["phase"] for name, about in shop.events if name == "phase"][-2:] == ["check", "verify"]


def test_the_real_builders_failure_comes_through_in_its_words_and_nothing_is_left(host: str, tmp_path: Path) -> None:
    push(host, "team/one", [gzipped(archive((member("etc/base"), b"base")))])
    plan = plan_of(host, "team/one")
    # Smaller than any ext4.
    with machines.loop_device(tmp_path / "disk", 16 * 1024) as device, workshop() as shop:
        with_real_vm(shop, device)
        with pytest.raises(BuildFailed, match=r"mkfs\.ext4 failed"):
            shop.build(plan).run()
        assert shop.left() == {}
