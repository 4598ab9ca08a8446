"""Packs the builder and what it is to do into one startup script; this module alone stays behind, at the client."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from importlib.resources import files

from kubectl_imagecache.builder.job import Job, encode
from kubectl_imagecache.core.errors import BadUsage

LIMIT = 256 * 1024
"""Bytes of one metadata value (https://cloud.google.com/compute/docs/metadata/setting-custom-metadata)."""
_PACKAGE = "kubectl_imagecache"
_CORE = ("__init__", "contents", "errors", "record", "references", "survey", "survey_wire")
_LEFT_OUT = ("bundle.py",)
_EPOCH = (1980, 1, 1, 0, 0, 0)

# Readable by every Python 3, so that an old one can say what is wrong.
_MAIN = """\
import sys

if sys.version_info < (3, 10):
    print('{"imagecache":1,"seq":0,"at":0,"event":"failed","kind":"no-tool","needed":null,'
          '"message":"the boot image has Python %d.%d, 3.10 is needed","hint":"take a Debian 12 boot image"}'
          % sys.version_info[:2])
    sys.exit(1)

from kubectl_imagecache.builder.__main__ import main

sys.exit(main())
"""

# The job and the program travel in base64: nothing of a reference, a URL or a name is ever read by the shell.
_SCRIPT = """\
#!/bin/sh
umask 077
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
base64 -d >"$dir/builder.pyz" <<'END'
{program}
END
{prepare}if ! command -v python3 >/dev/null; then
    echo '{{"imagecache":1,"seq":0,"at":0,"event":"failed","kind":"no-tool","needed":null,\
"message":"the boot image has no python3","hint":"take a Debian 12 boot image"}}'
    exit 1
fi
python3 -I "$dir/builder.pyz" {command}
"""
_JOB = """\
base64 -d >"$dir/job.json" <<'END'
{job}
END
"""
_DEVICE = re.compile(r"[a-z0-9/-]+")
READ_ROUNDS = 20
"""How often a reading is reported, half a minute apart: text that is lost on the serial port comes again."""


def program() -> bytes:
    """The builder as a zip file that `python3 FILE` runs; the same bytes each time."""
    members = {"__main__.py": _MAIN.encode(), f"{_PACKAGE}/__init__.py": b""}
    for name in _CORE:
        members[f"{_PACKAGE}/core/{name}.py"] = files(_PACKAGE).joinpath("core").joinpath(f"{name}.py").read_bytes()
    for module in files(_PACKAGE).joinpath("builder").iterdir():
        if module.name.endswith(".py") and module.name not in _LEFT_OUT:
            members[f"{_PACKAGE}/builder/{module.name}"] = module.read_bytes()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), members[name], zipfile.ZIP_DEFLATED, 9)
    return out.getvalue()


def startup_script(job: Job) -> str:
    """The value of the VM's `startup-script` metadata; raises BadUsage if JOB doesn't fit into it."""
    prepare = _JOB.format(job=_lines(encode(job).encode()))
    script = _SCRIPT.format(program=_lines(program()), prepare=prepare, command='build "$dir/job.json"')
    if len(script) > LIMIT:
        size = f"{len(script)} bytes, {LIMIT} are possible"
        raise BadUsage(
            f"the build of {len(job.images)} images doesn't fit into the VM's metadata ({size})",
            "split it into several disk images",
        )
    return script


def reading_script(device: str, *, contents: bool) -> str:
    """The `startup-script` of a VM that says what DEVICE holds; with CONTENTS it compares every file."""
    if not _DEVICE.fullmatch(device):
        raise ValueError(f"not a device: {device!r}")
    command = f"read --device {device} --rounds {READ_ROUNDS}" + (" --contents" if contents else "")
    return _SCRIPT.format(program=_lines(program()), prepare="", command=command)


def _lines(data: bytes) -> str:
    return base64.encodebytes(data).decode().strip()
