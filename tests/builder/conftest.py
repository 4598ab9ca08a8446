from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builder import machines


@pytest.fixture(scope="session")
def workshop() -> Iterator[Path]:
    """A short path on a disk of its own: overlay snapshots want ext4, and sockets have short names."""
    folder = Path(tempfile.mkdtemp(prefix="kic-", dir="/var/tmp"))
    yield folder
    subprocess.run(["umount", "-R", str(folder / "containerd")], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def registry(workshop: Path) -> Iterator[str]:
    machines.need("docker-registry")
    with machines.docker_registry(workshop / "registry") as host:
        yield host


@pytest.fixture(scope="session")
def containerd(workshop: Path) -> Iterator[machines.Containerd]:
    machines.need("containerd", "ctr", "runc")
    with machines.containerd(workshop / "containerd") as machine:
        yield machine
