from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kubectl_imagecache.builder.bundle import LIMIT, program, startup_script
from kubectl_imagecache.builder.job import Job, JobImage, RegistryAccess, Target
from kubectl_imagecache.builder.report import read
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.references import parse

DIGEST = "sha256:" + "0" * 64


def job(count: int = 1, build: str = "b") -> Job:
    images = tuple(JobImage(parse(f"127.0.0.1:1/x{n}"), DIGEST) for n in range(count))
    # Refused at once: a registry elsewhere over plain http.
    access = RegistryAccess("127.0.0.1:1", endpoint="http://192.0.2.1")
    return Job(images, Target(folder="/nowhere/at/all"), build, registries=(access,))


def test_the_program_runs_alone_with_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "builder.pyz").write_bytes(program())
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(tmp_path / "builder.pyz"), "read", "--device", "/nowhere"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    event = read(done.stdout.splitlines()[-1])
    assert (done.returncode, done.stderr) == (1, "")
    assert event is not None
    assert event.fields["message"] == "/nowhere can't be read: No such file or directory"


def test_the_program_is_the_same_bytes_each_time_and_small() -> None:
    assert program() == program()
    assert len(program()) < LIMIT // 2


def test_the_startup_script_builds_and_leaves_nothing_to_the_shell(tmp_path: Path) -> None:
    hostile = "'; touch pwned; $(touch pwned) `touch pwned` \nEND\ntouch pwned\n"
    script = startup_script(job(build=hostile))
    assert "pwned" not in script
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, cwd=tmp_path)
    event = read(done.stdout.splitlines()[-1])
    assert event is not None
    assert (event.name, event.fields["kind"], done.stderr) == ("failed", "registry", "")
    assert list(tmp_path.iterdir()) == []


def test_a_job_too_large_for_metadata_is_refused_before_anything_is_made() -> None:
    assert len(startup_script(job(300))) < LIMIT
    with pytest.raises(BadUsage, match="2000 images doesn't fit"):
        startup_script(job(2000))
