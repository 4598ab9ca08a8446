from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubectl_imagecache import __version__
from tests.cli.conftest import ROOT, Program

MANIFEST = ROOT / "krew-manifest.yaml"
PLATFORMS = {("linux", "amd64"), ("linux", "arm64"), ("darwin", "amd64"), ("darwin", "arm64")}


def broken_rules(manifest: Mapping[str, Any]) -> list[str]:
    """What krew would refuse: github.com/kubernetes-sigs/krew, internal/index/validation/validate.go, and the schema
    that https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/ describes."""
    spec, name = manifest.get("spec", {}), manifest.get("metadata", {}).get("name", "")
    rules = {
        "apiVersion": manifest.get("apiVersion") == "krew.googlecontainertools.github.com/v1alpha2",
        "kind": manifest.get("kind") == "Plugin",
        "name": bool(re.fullmatch(r"[\w-]+", name)),
        "version": bool(re.fullmatch(r"v(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}(-[0-9A-Za-z.-]+)?", spec.get("version", ""))),
        "shortDescription": 0 < len(spec.get("shortDescription", "")) <= 50 and "\n" not in spec["shortDescription"],
        "platforms": bool(spec.get("platforms")),
        "known fields": set(spec) <= {"version", "shortDescription", "description", "caveats", "homepage", "platforms"},
    }
    broken = [rule for rule, kept in rules.items() if not kept]
    selectors = []
    for platform in spec.get("platforms", []):
        selector = platform.get("selector", {}).get("matchLabels", {})
        selectors.append((selector.get("os"), selector.get("arch")))
        checks = {
            "uri": bool(re.fullmatch(r"https://\S+\.(tar\.gz|zip)", platform.get("uri", ""))),
            "sha256": bool(re.fullmatch(r"[0-9a-f]{64}", platform.get("sha256", ""))),
            "bin": bool(platform.get("bin")) and ".." not in platform["bin"] and not platform["bin"].startswith("/"),
            "files": platform.get("files", True) != [],
            "known platform fields": set(platform) <= {"uri", "sha256", "files", "bin", "selector"},
        }
        broken += [rule for rule, kept in checks.items() if not kept]
    if len(set(selectors)) != len(selectors):
        broken.append("two platforms match one machine")
    return broken


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    script = ROOT / "scripts" / "build_archive.py"
    found = subprocess.run(
        [sys.executable, str(script), "--out", str(out)], capture_output=True, text=True, check=False, timeout=300
    )
    assert found.returncode == 0, found.stderr
    return out


def archive_in(folder: Path) -> Path:
    (archive,) = folder.glob("*.tar.gz")
    return archive


def test_the_manifest_keeps_krews_rules_and_names_this_version() -> None:
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    assert broken_rules(manifest) == []
    assert manifest["spec"]["version"] == f"v{__version__}"
    found = {tuple(p["selector"]["matchLabels"][k] for k in ("os", "arch")) for p in manifest["spec"]["platforms"]}
    assert found == PLATFORMS
    for platform in manifest["spec"]["platforms"]:
        labels = platform["selector"]["matchLabels"]
        assert platform["uri"].endswith(f"-v{__version__}-{labels['os']}-{labels['arch']}.tar.gz")


def test_the_rules_notice_what_is_wrong() -> None:
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    manifest["spec"]["version"] = "0.1.0"
    manifest["spec"]["platforms"][0]["sha256"] = "abc"
    manifest["spec"]["platforms"][1]["selector"] = manifest["spec"]["platforms"][0]["selector"]
    assert broken_rules(manifest) == ["version", "sha256", "two platforms match one machine"]


def test_the_script_fills_in_the_checksum(built: Path) -> None:
    archive = archive_in(built)
    manifest = yaml.safe_load((built / "imagecache.yaml").read_text(encoding="utf-8"))
    sums = {p["uri"].rpartition("/")[2]: p["sha256"] for p in manifest["spec"]["platforms"]}
    assert sums[archive.name] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert broken_rules(manifest) == []


def installed(built: Path, program: Program, tmp_path: Path) -> Program:
    """As krew does it: unpack to the store, put a symbolic link to `bin` on PATH."""
    store, links = tmp_path / "store" / "imagecache", tmp_path / "krew-bin"
    store.mkdir(parents=True)
    links.mkdir()
    with tarfile.open(archive_in(built)) as archive:
        archive.extractall(store, filter="data")
    (links / "kubectl-imagecache").symlink_to(store / "kubectl-imagecache")
    python = tmp_path / "python"
    python.mkdir()
    # The user's python3 has none of our dependencies: -S and -E leave out site-packages and PYTHON… variables.
    (python / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    (python / "python3").chmod(0o755)
    return Program(Path(f"{links}:{python}"), program.home)


def test_krews_install_runs_through_the_real_kubectl(built: Path, program: Program, tmp_path: Path) -> None:
    krew = installed(built, program, tmp_path)
    assert krew.run("kubectl", "imagecache", "version").stdout == f"{__version__}\n"
    assert krew.run("kubectl", "imagecache", "--help").stdout.startswith("Usage: kubectl imagecache [OPTIONS]")
    status = krew.run("kubectl", "imagecache", "status", "--sandbox", "-o", "name")
    assert (status.stdout, status.stderr) == (program.imagecache("status", "--sandbox", "-o", "name").stdout, "")
    # The two-line kubectl_complete-imagecache of the manifest's caveats relies on this.
    assert krew.run("kubectl", "imagecache", "__complete", "stat").stdout.startswith("status\t")
    yaml_out = krew.run("kubectl", "imagecache", "status", "--sandbox", "--layers", "-o", "yaml")
    assert yaml.safe_load(yaml_out.stdout)["kind"] == "StatusReport"


def test_the_archive_holds_the_licence_and_nothing_outside_itself(built: Path) -> None:
    with tarfile.open(archive_in(built)) as archive:
        names = archive.getnames()
    assert {"LICENSE", "kubectl-imagecache", "completions/kubectl-imagecache.bash"} <= set(names)
    assert not [name for name in names if name.startswith("/") or ".." in name.split("/") or name.endswith(".pyc")]


def test_a_python_without_its_dependencies_gets_a_plain_word(built: Path, program: Program, tmp_path: Path) -> None:
    krew = installed(built, program, tmp_path)
    lib = tmp_path / "store" / "imagecache" / "lib"
    (own,) = lib.glob("cp3*")
    own.rename(lib / "cp399")
    found = krew.run("kubectl-imagecache", "status")
    assert found.returncode == 1
    assert found.stderr == (
        f"error: this archive has no dependencies for cpython {own.name} (it has cp399)\n"
        "hint: use one of those Pythons, or install with: pipx install kubectl-imagecache\n"
    )
