"""What others can write never becomes shell on the VM, nor an escape on this terminal."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.builder.bundle import startup_script
from kubectl_imagecache.builder.job import Job, JobImage, RegistryAccess, Target
from kubectl_imagecache.cli.build_progress import Teller
from kubectl_imagecache.cli.vm_run import harmless
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.render.text import neutral
from kubectl_imagecache.usecases.builder_report import ReportReader
from tests.cli.conftest import Program

HOSTILE = "a'\"$(touch pwned)`touch pwned`; touch pwned\n\x1b]0;pwned\x07\x9b31m\u202e|& <>"
FLAGS = (
    "--image",
    "--drop",
    "--label=x",
    "--image-name",
    "--family",
    "--zone",
    "--machine-type",
    "--disk-type",
    "--boot-image",
    "--network",
    "--subnet",
    "--network-tag",
    "--service-account",
    "--kms-key",
    "--storage-location",
    "--registry-auth=docker.io",
    "--registry-mirror=docker.io",
    "--price",
    "--gcs-path",
    "--project-name",
    "--abort",
    "--resume",
    "--plan",
    "--from-file",
)
ANY = st.text(st.characters(codec="utf-8"), max_size=60) | st.just(HOSTILE)


def is_harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("flag", FLAGS)
def test_no_flag_of_rebuild_carries_shell_or_escapes_through(program: Program, flag: str, tmp_path: Path) -> None:
    given_flag = f"{flag}={HOSTILE}"
    found = program.imagecache(
        "rebuild", "--sandbox", "--yes", "-q", "--image", "docker.io/library/redis:7.4.1-alpine", given_flag
    )
    assert found.returncode in (0, 1, 2), found.stderr
    assert is_harmless(found.stdout)
    assert is_harmless(found.stderr)
    assert "Traceback" not in found.stderr
    assert list(tmp_path.rglob("pwned*")) == []


@given(ANY, ANY, ANY)
def test_whatever_a_job_says_the_shell_reads_the_same_script(build: str, endpoint: str, source: str) -> None:
    image = JobImage(parse("docker.io/team/app:1"), "sha256:" + "0" * 64)
    access = RegistryAccess("docker.io", "secret", source, endpoint)
    script = startup_script(Job((image,), Target(device=f"/dev/{build}"), build, registries=(access,)))
    [packed] = re.findall(r"job\.json\" <<'END'\n([A-Za-z0-9+/=\n]+)\nEND\n", script)
    assert json.loads(base64.b64decode(packed))["build"] == build
    plain = startup_script(Job((image,), Target(device="/dev/x"), "b"))
    assert script.replace(packed, "") == re.sub(r"(job\.json\" <<'END'\n)[A-Za-z0-9+/=\n]+(\nEND\n)", r"\1\2", plain)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=200), max_size=8), ANY)
def test_whatever_a_vm_writes_nothing_but_text_is_shown_or_logged(lines: list[str], word: str) -> None:
    event = {"imagecache": 1, "seq": 0, "at": 0.0, "event": "note", "text": word}
    image = {"imagecache": 1, "seq": 1, "at": 0.1, "event": "image", "image": word, "layers": [word], "sizes": [1]}
    layer = {"imagecache": 1, "seq": 2, "at": 0.2, "event": "layer", "layer": word}
    total = {"imagecache": 1, "seq": 3, "at": 0.3, "event": "progress", "bytes": 1, "of": 1, "layers": {word: [1, 1]}}
    failed = {"imagecache": 1, "seq": 4, "at": 0.4, "event": "failed", "kind": word, "message": word, "hint": word}
    text = "\n".join([*lines, *(json.dumps(e) for e in (event, image, layer, total, failed)), ""])
    out, err, reader = io.StringIO(), io.StringIO(), ReportReader()
    for way in ("table", "json"):
        teller = Teller(out, err, way, quiet=False)
        for found in reader.take(text, reader.offset, reader.offset + len(text)):
            teller.event(found.name, found.fields)
        teller.event("at", {"progress": reader.progress})
    assert reader.end is not None
    assert is_harmless(out.getvalue())
    assert is_harmless(err.getvalue())
    assert is_harmless(harmless(text))
    # The program prints every error through the same function.
    assert is_harmless(neutral(reader.end.message + reader.end.hint))
