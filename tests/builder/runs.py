"""Runs the builder's program as the VM does, and reads its report."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubectl_imagecache.builder.job import Job, JobImage, Limits, RegistryAccess, Target, encode
from kubectl_imagecache.builder.report import Event
from kubectl_imagecache.builder.report import read as read_event
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.core.survey import Survey
from kubectl_imagecache.core.survey_wire import EVENT, Pieces
from tests.builder.factories import Pushed
from tests.schemas import follow

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Run:
    status: int
    events: list[Event]
    output: str

    def last(self, name: str) -> Event:
        return [event for event in self.events if event.name == name][-1]

    @property
    def failure(self) -> dict[str, object]:
        return dict(self.last("failed").fields)


def job(
    images: Sequence[Pushed],
    target: Target,
    *,
    registries: Sequence[RegistryAccess] | None = None,
    limits: Limits | None = None,
    platform: str = "linux/amd64",
    checksums: bool = True,
    verify: bool = False,
) -> Job:
    wanted = tuple(JobImage(parse(image.reference), image.digest, platform) for image in images)
    if registries is None:
        hosts = {image.reference.registry for image in wanted}
        registries = [RegistryAccess(host, endpoint=f"http://{host}") for host in sorted(hosts)]
    return Job(
        wanted,
        target,
        "test-build",
        "f00d",
        "kubectl-imagecache test",
        tuple(registries),
        limits or Limits(),
        checksums,
        verify,
    )


def build(job: Job, at: Path, **environment: str) -> Run:
    """Run `build` on JOB, the file kept in AT."""
    file = at / "job.json"
    file.write_text(encode(job))
    return run(["build", str(file)], **environment)


def read(*arguments: str) -> Survey:
    """Run `read ARGUMENTS` and put its report together."""
    found = run(["read", *arguments])
    assert found.status == 0, found.output
    together = Pieces()
    for event in found.events:
        if event.name == EVENT:
            together.take(event.fields)
    survey = together.survey()
    assert survey is not None
    return survey


def run(arguments: Sequence[str], **environment: str) -> Run:
    done = subprocess.run(
        [sys.executable, "-m", "kubectl_imagecache.builder", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stderr == "", done.stderr
    events = [event for line in done.stdout.splitlines() if (event := read_event(line)) is not None]
    for event in events:
        if event.name != EVENT:
            follow("build-event", {"event": event.name, **event.fields})
    return Run(done.returncode, events, done.stdout)
