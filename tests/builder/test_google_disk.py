"""Ours on Google's, and Google's on ours: a disk laid out as by Google's script, and a check like its verifier's."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubectl_imagecache.builder.job import Target
from tests.builder import factories, machines, runs
from tests.builder.factories import Layer, Pushed, archive, gzipped, member

BASE = gzipped(
    archive(
        (member("etc/", tarfile.DIRTYPE), b""),
        (member("etc/base"), b"base" * 1000),
        (member("odd/back\\slash"), b"b"),
        (member("odd/new\nline"), b"n"),
        (member("odd/\u65e5\u672c"), b"unicode"),
    )
)
EMPTY = gzipped(archive((member("etc/", tarfile.DIRTYPE, mode=0o700), b"")))


def own(text: str) -> Layer:
    return gzipped(archive((member(f"opt/{text}"), text.encode() * 100)))


@pytest.fixture
def images(registry: str) -> list[Pushed]:
    return [factories.push(registry, f"google/{name}", [BASE, EMPTY, own(name)]) for name in ("one", "two")]


@pytest.fixture
def device(workshop: Path, tmp_path: Path) -> Iterator[str]:
    machines.need("mkfs.ext4", "e2fsck", "losetup", "mount", "md5sum", "find", "cp")
    with machines.loop_device(workshop / f"{tmp_path.name}.img", 96 << 20) as found:
        yield found


@contextmanager
def writable(device: str, folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "ext4", device, str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def md5_of(folder: Path) -> str:
    """As coreutils have it: of the sorted first column of md5sum over every regular file."""
    script = "find . -type f -exec md5sum {} + | cut -d' ' -f1 | LC_ALL=C sort | md5sum | cut -d' ' -f1"
    done = subprocess.run(["sh", "-c", script], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def fill_as_google_does(root: Path, machine: machines.Containerd, images: list[Pushed]) -> None:
    """Pull one by one, copy each snapshot's view with `cp -r -p`, and list both in the two metadata files."""
    for image in images:
        machine.pull(image.reference)
    listed = machine.ctr("snapshots", "--snapshotter", "overlayfs", "ls").splitlines()[1:]
    mine = {chain_id for image in images for chain_id in chain_ids(image)}
    committed = sorted(line.split()[0] for line in listed if line.split()[-1] == "Committed")
    lines = []
    for chain_id in (found for found in committed if found in mine):
        source = machine.layer_folder(chain_id)
        folder = Path("snapshots", source.parent.name, "fs")
        (root / folder).parent.mkdir(parents=True)
        subprocess.run(["cp", "-r", "-p", str(source), str(root / folder)], check=True)
        lines.append(f"{chain_id} {folder} {md5_of(root / folder)}\n")
    (root / "snapshots.metadata").write_text("".join(lines))
    table = machine.ctr("images", "ls").splitlines(keepends=True)
    digests = {image.digest for image in images}
    (root / "images.metadata").write_text("".join([table[0], *(row for row in table[1:] if row.split()[2] in digests)]))


def chain_ids(image: Pushed) -> list[str]:
    chain = [image.diff_ids[0]]
    for diff_id in image.diff_ids[1:]:
        chain.append(factories.digest(f"{chain[-1]} {diff_id}".encode()))
    return chain


@pytest.fixture
def googles(device: str, containerd: machines.Containerd, images: list[Pushed], tmp_path: Path) -> str:
    """A device with a disk as Google's builder leaves it."""
    subprocess.run(["mkfs.ext4", "-q", "-F", device], check=True)
    with writable(device, tmp_path / "google") as root:
        fill_as_google_does(root, containerd, images)
    return device


def test_our_reading_passes_on_a_disk_of_googles_and_sees_all_that_is_on_it(googles: str, images: list[Pushed]) -> None:
    found = runs.read("--device", googles, "--contents")
    assert found.findings == ()
    assert {layer.chain_id for layer in found.layers} == {chain_id for image in images for chain_id in chain_ids(image)}
    assert (found.checked, found.record) == (4, None)
    rows = {image.reference: image.digest for image in found.images if not image.reference.startswith("sha256:")}
    assert rows == {image.reference: image.digest for image in images}
    sizes = {layer.chain_id: layer.unpacked for layer in found.layers}
    assert sizes[images[0].diff_ids[0]] == 4000 + 1 + 1 + len(b"unicode")


def drop_line(root: Path) -> None:
    file = root / "snapshots.metadata"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))


def change_byte(root: Path) -> None:
    [file] = root.glob("snapshots/*/fs/opt/one")
    file.write_bytes(b"?" + file.read_bytes()[1:])


def wrong_folder(root: Path) -> None:
    """What a failed view leaves: this layer's line with the folder of the one before."""
    file = root / "snapshots.metadata"
    first, second, *rest = file.read_text().splitlines()
    file.write_text("\n".join([first, " ".join([second.split()[0], *first.split()[1:]]), *rest]) + "\n")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a line was dropped": (drop_line, "is not in snapshots.metadata: a line was lost"),
    "no snapshots are listed": (lambda d: (d / "snapshots.metadata").write_text(""), "snapshots.metadata is empty"),
    "the images' table is gone": (lambda d: (d / "images.metadata").unlink(), "images.metadata can't be read"),
    "a byte has changed": (change_byte, "the files have other contents"),
    "a folder is not listed": (lambda d: (d / "snapshots/99999/fs").mkdir(parents=True), "snapshots/99999 is not in"),
    "a folder is gone": (lambda d: shutil.rmtree(next((d / "snapshots").iterdir())), "which is no directory there"),
    "a line has another's folder": (wrong_folder, "names the folder snapshots/"),
}


@pytest.mark.parametrize(("change", "words"), FAULTS.values(), ids=FAULTS)
def test_what_googles_verifier_looks_over_is_found(
    googles: str, tmp_path: Path, change: Callable[[Path], object], words: str
) -> None:
    with writable(googles, tmp_path / "google") as root:
        change(root)
    findings = runs.read("--device", googles, "--contents").findings
    assert [finding for finding in findings if words in finding], findings


def test_a_damaged_file_system_is_found(googles: str) -> None:
    # The root directory's inode table, all zeros: e2fsck sees it, whether or not it can still be mounted.
    subprocess.run(["debugfs", "-w", "-R", "clri <2>", googles], check=True, capture_output=True)
    findings = runs.read("--device", googles, "--contents").findings
    assert findings[0].startswith("the file system is damaged or was not unmounted: e2fsck failed")


def google_verifies(root: Path) -> list[str]:
    """Google's own check, from its description: each line's folder, its files' MD5 beside the third column."""
    wrong = []
    for line in (root / "snapshots.metadata").read_text().splitlines():
        chain_id, folder, *md5 = line.split(" ")
        if not (root / folder).is_dir() or md5 != [md5_of(root / folder)]:
            wrong.append(chain_id)
    return wrong


def test_googles_own_check_passes_on_a_disk_of_ours(device: str, images: list[Pushed], tmp_path: Path) -> None:
    run = runs.build(runs.job(images, Target(device=device), verify=True), tmp_path)
    assert run.status == 0, run.output
    assert [event.fields["phase"] for event in run.events if event.name == "phase"][-1] == "verify"
    with machines.mounted(device, tmp_path / "look") as root:
        assert google_verifies(root) == []
        assert len((root / "snapshots.metadata").read_text().splitlines()) == 4
    with writable(device, tmp_path / "look") as root:
        change_byte(root)
        assert len(google_verifies(root)) == 1
