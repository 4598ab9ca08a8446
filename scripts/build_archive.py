"""Builds the archives that krew-manifest.yaml names, and the manifest with their checksums.

    python scripts/build_archive.py --out dist                      # for this machine and this Python
    python scripts/build_archive.py --out dist --owner NAME         # every platform and Python: a release of NAME's

An archive runs with the user's own python3 and needs no network and no first-run step: `lib/any` holds this package and
every dependency that is the same for all Pythons, `lib/cp312` and so on what is not (compiled modules). pip downloads
the wheels; they are only unpacked.
"""

from __future__ import annotations

import argparse
import configparser
import gzip
import hashlib
import io
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
PLATFORMS = {
    "linux-amd64": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "linux-arm64": ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
    "darwin-amd64": ("macosx_11_0_x86_64", "macosx_10_12_x86_64", "macosx_10_9_x86_64", "macosx_10_9_universal2"),
    "darwin-arm64": (
        "macosx_11_0_arm64",
        "macosx_11_0_universal2",
        "macosx_10_12_universal2",
        "macosx_10_9_universal2",
    ),
}
"""krew's OS-ARCH -> the wheel platforms that fit it, best first (packaging.python.org, platform compatibility tags)."""
_EPOCH = 315532800
"""1980-01-01: every file's time, so that the same input gives the same archive."""


def version() -> str:
    """The package's version."""
    text = (ROOT / "kubectl_imagecache" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit("kubectl_imagecache/__init__.py has no __version__")
    return found[1]


def requirements() -> list[str]:
    """What setup.cfg asks for at run time."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser["options"]["install_requires"].split("\n")[1:]


def this_platform() -> str:
    """krew's word for the machine this runs on."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return f"{platform.system().lower()}-{machine}"


def download(folder: Path, python: str, wheel_platforms: Sequence[str]) -> None:
    """Fetch the wheels of the requirements for one Python; no WHEEL_PLATFORMS means this machine's own."""
    target: list[str] = []
    for name in wheel_platforms:
        target += ["--platform", name]
    if target:
        target += ["--implementation", "cp", "--python-version", python]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--only-binary=:all:",
        "--dest",
        str(folder),
        *target,
    ]
    subprocess.run([*command, *requirements()], check=True)


def build(name: str, pythons: Sequence[str], out: Path, *, native: bool) -> Path:
    """Write OUT/kubectl-imagecache-vVERSION-NAME.tar.gz and return it."""
    with tempfile.TemporaryDirectory() as scratch:
        wheels = {python: Path(scratch) / python for python in pythons}
        for python, folder in wheels.items():
            folder.mkdir()
            download(folder, python, () if native else PLATFORMS[name])
        tree = Path(scratch) / "tree"
        _fill(tree, wheels)
        out.mkdir(parents=True, exist_ok=True)
        archive = out / f"kubectl-imagecache-v{version()}-{name}.tar.gz"
        _pack(tree, archive)
    return archive


def _fill(tree: Path, wheels: dict[str, Path]) -> None:
    lib = tree / "lib"
    everywhere = set.intersection(*({wheel.name for wheel in folder.glob("*.whl")} for folder in wheels.values()))
    for python, folder in wheels.items():
        own = lib / f"cp{python.replace('.', '')}"
        own.mkdir(parents=True)
        for wheel in sorted(folder.glob("*.whl")):
            compiled_for_one = re.search(r"-cp3\d+-cp3\d+-", wheel.name)
            shared = wheel.name in everywhere and not compiled_for_one
            with zipfile.ZipFile(wheel) as content:
                content.extractall(lib / "any" if shared else own)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "kubectl_imagecache", lib / "any" / "kubectl_imagecache", ignore=ignore)
    shutil.copytree(ROOT / "completions", tree / "completions", ignore=ignore)
    shutil.copy(ROOT / "LICENSE", tree / "LICENSE")
    launcher = tree / "kubectl-imagecache"
    shutil.copy(ROOT / "scripts" / "launcher.py", launcher)
    launcher.chmod(0o755)


def _pack(tree: Path, archive: Path) -> None:
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for file in sorted(path for path in tree.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(str(file.relative_to(tree)))
            content = file.read_bytes()
            entry.size, entry.mtime = len(content), _EPOCH
            entry.mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
            tar.addfile(entry, io.BytesIO(content))


def manifest(archives: Iterable[Path], owner: str) -> str:
    """krew-manifest.yaml for a release of the GitHub account OWNER, with the checksums of ARCHIVES."""
    sums = {archive.name: hashlib.sha256(archive.read_bytes()).hexdigest() for archive in archives}
    lines = (ROOT / "krew-manifest.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
    current = ""
    for i, line in enumerate(lines):
        if found := re.match(r"\s*uri: .*/(\S+)$", line):
            current = found[1]
        elif found := re.match(r"(\s*sha256: )", line):
            # Quoted: 64 digits without a letter would be a number.
            lines[i] = f'{found[1]}"{sums.get(current, "0" * 64)}"\n'
    return "".join(lines).replace("/OWNER/", f"/{owner}/")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the archives and the manifest")
    parser.add_argument("--owner", default="", help="GitHub account that releases it; builds every archive")
    given = parser.parse_args()
    if given.owner:
        archives = [build(name, PYTHONS, given.out, native=False) for name in PLATFORMS]
    else:
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        archives = [build(this_platform(), (here,), given.out, native=True)]
    (given.out / "imagecache.yaml").write_text(manifest(archives, given.owner or "OWNER"), encoding="utf-8")


if __name__ == "__main__":
    main()
