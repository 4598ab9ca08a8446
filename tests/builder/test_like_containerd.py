"""The bar: a layer on our disk is what containerd's overlay snapshotter makes of it, in every respect."""

from __future__ import annotations

import io
import os
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from kubectl_imagecache.builder.images import chain_ids
from kubectl_imagecache.builder.job import Target
from kubectl_imagecache.builder.layout import read_images, read_snapshots
from tests.builder import factories, judge, machines, runs
from tests.builder.factories import archive, gzipped, member, plain, zstd

DIR, LINK, SYM, CHR, BLK, FIFO = (
    tarfile.DIRTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
)
Member = tuple[tarfile.TarInfo, bytes]
# VFS_CAP_REVISION_2 with the effective bit and CAP_NET_RAW; as text, for tarfile's PAX headers.
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0).decode("utf-8", "surrogateescape")
LONG = "/".join(["a-rather-long-directory-name-" + "x" * 60] * 12)

BASE: list[Member] = [
    (member("./", DIR, mode=0o700, uid=7), b""),
    (member("etc/", DIR, mode=0o2750, uid=1, gid=2, mtime=1_500_000_000.25, xattrs={"user.of": "base"}), b""),
    (member("etc/passwd", mode=0o600, uid=3, gid=4), b"root:x:0:0\n"),
    (member("etc/empty"), b""),
    (member("bin/", DIR), b""),
    (member("bin/sh", mode=0o4755), b"#!"),
    (member("bin/ping", xattrs={"security.capability": CAPABILITY}), b"ping"),
    (member("bin/first", mode=0o6711, uid=11, xattrs={"security.capability": CAPABILITY}), b"once"),
    (member("usr/lib/", DIR), b""),
    (member("usr/lib/second", LINK, linkname="bin/first", mode=0o6711, uid=11), b""),
    (member("usr/lib/third", LINK, linkname="/usr/lib/../../bin/first", mode=0o644, mtime=5), b""),
    (member("lib", SYM, linkname="usr/lib"), b""),
    (member("lib/through-a-link", mode=0o640), b"x" * 70000),
    (member("to-root", SYM, linkname="/"), b""),
    (member("to-root/via-root"), b"v"),
    (member("up", SYM, linkname="../../../../etc"), b""),
    (member("up/clamped"), b"c"),
    (member("link-to-link", LINK, linkname="lib"), b""),
    (member("dev/null", CHR, devmajor=1, devminor=3, mode=0o666), b""),
    (member("dev/disk", BLK, devmajor=259, devminor=70000, mode=0o660, gid=6), b""),
    (member("run/pipe", FIFO, mode=0o622), b""),
    (member("no/one/names/these/parents"), b"p"),
    (member("café/日本\u00e9\u0301"), b"unicode"),
    (member("odd/new\nline"), b"n"),
    (member("odd/back\\slash"), b"b"),
    (member("odd/" + "n" * 255), b"255"),
    (member(f"{LONG}/deep"), b"deep"),
    (member("/absolute"), b"a"),
    (member("../../outside"), b"o"),
    (member("a/./b/../c/"[:-1]), b"cleaned"),
    (member("twice"), b"first"),
    (member("twice", mode=0o755), b"second, longer"),
    (member("file-then-dir"), b"f"),
    (member("file-then-dir/", DIR, mode=0o711), b""),
    (member("file-then-dir/inner"), b"i"),
    (member("dir-then-file/", DIR, mtime=1234), b""),
    (member("dir-then-file/inner/deeper"), b"i"),
    (member("dir-then-file", mtime=99), b"f"),
    (member("dir-then-link/", DIR, mtime=4321), b""),
    (member("dir-then-link", SYM, linkname="etc"), b""),
    (member("merged/", DIR, mode=0o700, mtime=1), b""),
    (member("merged/file"), b"m"),
    (member("merged/", DIR, mode=0o1777, uid=9, mtime=2), b""),
    (member("removed-in-base"), b"r"),
    (member(".wh.removed-in-base"), b""),
    (member("opaque-in-base/kept"), b"k"),
    (member("opaque-in-base/.wh..wh..opq"), b""),
    (member("ancient", mtime=-5), b"before 1970"),
    (member("future", mtime=2**33 + 0.5), b"2242"),
    (member("big-owner", uid=3_000_000_000, gid=2_900_000_000), b"o"),
    (member("setgid/", DIR, mode=0o2775, gid=33), b""),
    (member("setgid/inherits-not", gid=0), b"i"),
    (member("setgid/dir/", DIR, mode=0o755), b""),
    (member("zeros"), bytes(3 << 20)),
    (member("zeros-then-data"), bytes(2 << 20) + b"end"),
    (member("data-then-zeros"), b"start" + bytes(3 << 20)),
    (member("big"), os.urandom(1 << 20) * 5),
    (member("replaced-by-lower/", DIR, mode=0o751, uid=21, gid=22, xattrs={"user.lower": "yes"}), b""),
    (member("replaced-by-lower/child/", DIR, mode=0o700), b""),
    (member("replaced-by-lower/child/f"), b"f"),
]
UPPER: list[Member] = [
    (member("etc/.wh.passwd", uid=5, gid=6), b""),
    (member("usr/", DIR), b""),
    (member("usr/lib/", DIR, mode=0o711), b""),
    (member("usr/lib/.wh..wh..opq"), b""),
    (member("usr/lib/new"), b"n"),
    (member("bin/.wh.sh"), b""),
    (member("bin/.wh..wh..opq"), b""),
    (member(".wh.odd"), b""),
    (member("replaced-by-lower/child/only-in-upper"), b"u"),
    (member("lib/x"), b"parent is a link below"),
    (member("brand/new/parents"), b"n"),
    (member("late/file"), b"l"),
    (member("late/", DIR, mode=0o750, uid=8), b""),
    (member("etc/later", xattrs={"user.comment": "x", "trusted.overlay.opaque": "y"}), b"l"),
    (member("wh-then-file"), b""),
    (member("gone/.wh.a"), b""),
    (member("gone/b"), b"b"),
    (member("link", SYM, linkname="nowhere", xattrs={"user.ignored": "on links"}), b""),
]
TOP: list[Member] = [
    (member("replaced-by-lower/child/again"), b"2"),
    (member("etc", SYM, linkname="/bin"), b""),
    (member("brand/.wh.new"), b""),
    (member("late/deeper/.wh..wh..opq"), b""),
    (member(".wh..wh..opq"), b""),
]


def undated(layer: factories.Layer) -> set[bytes]:
    """The directories that LAYER's archive needs and does not describe: containerd takes their time from the clock."""
    with tarfile.open(fileobj=io.BytesIO(layer.tar), encoding="utf-8", errors="surrogateescape") as tar:
        infos = tar.getmembers()
    needed: set[str] = set()
    for info in infos:
        at = os.path.normpath("/" + info.name).rpartition("/")[0]
        while at:
            needed.add(at)
            at = at.rpartition("/")[0]
    described = {os.path.normpath("/" + info.name) for info in infos if info.isdir()}
    return {path[1:].encode("utf-8", "surrogateescape") for path in needed - described}


def build_and_compare(
    images: Sequence[factories.Pushed], containerd: machines.Containerd, folder: Path, tmp_path: Path
) -> list[str]:
    """All differences between our layers of IMAGES and containerd's."""
    unseen = {factories.digest(layer.tar): undated(layer) for image in images for layer in image.layers}
    run = runs.build(runs.job(images, Target(folder=str(folder))), tmp_path)
    assert run.status == 0, run.output
    ours = {snapshot.chain_id: folder / snapshot.path for snapshot in read_snapshots(str(folder))}
    found = []
    for image in images:
        containerd.pull(image.reference)
        for chain_id, diff_id in zip(chain_ids(list(image.diff_ids)), image.diff_ids, strict=True):
            lines = judge.differences(ours[chain_id], containerd.layer_folder(chain_id), unseen[diff_id])
            found += [f"{ours[chain_id]}: {line}" for line in lines]
    return found


@pytest.fixture
def disk(workshop: Path, tmp_path: Path) -> Path:
    folder = workshop / f"disk-{tmp_path.name}"
    folder.mkdir()
    return folder


def test_every_kind_of_entry_comes_out_as_containerd_leaves_it(
    registry: str, containerd: machines.Containerd, disk: Path, tmp_path: Path
) -> None:
    layers = [gzipped(archive(*members), 3) for members in (BASE, UPPER, TOP)]
    assert build_and_compare([factories.push(registry, "telling", layers)], containerd, disk, tmp_path) == []


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT], ids=["gnu", "ustar"])
def test_older_archive_formats_too(
    registry: str, containerd: machines.Containerd, disk: Path, tmp_path: Path, format: int
) -> None:
    def fits(info: tarfile.TarInfo) -> bool:
        ustar = len(info.name) < 90 and info.mtime == int(info.mtime) and 0 <= info.mtime < 2**33 and info.uid < 2**21
        bare = not info.pax_headers or "security.capability" in str(info.pax_headers)
        return bare and (ustar or format == tarfile.GNU_FORMAT)

    members = [(info, content) for info, content in BASE if fits(info)]
    layer = gzipped(archive(*members, format=format))
    assert build_and_compare([factories.push(registry, f"old-{format}", [layer])], containerd, disk, tmp_path) == []


def test_zstd_plain_and_docker_layers_shared_among_images(
    registry: str, containerd: machines.Containerd, disk: Path, tmp_path: Path
) -> None:
    machines.need("zstd")
    base, upper = archive(*BASE), archive(*UPPER)
    images = [
        factories.push(registry, "zstd", [zstd(base), zstd(upper)]),
        factories.push(registry, "plain", [plain(base), plain(archive(*TOP))]),
        factories.push(registry, "docker", [gzipped(base), gzipped(upper)], docker=True),
    ]
    assert build_and_compare(images, containerd, disk, tmp_path) == []
    assert len(read_snapshots(str(disk))) == 3


def test_a_hundred_tiny_layers(registry: str, containerd: machines.Containerd, disk: Path, tmp_path: Path) -> None:
    layers = [gzipped(archive((member(f"d/{n}"), b"%d" % n))) for n in range(100)]
    assert build_and_compare([factories.push(registry, "tiny", layers)], containerd, disk, tmp_path) == []


def test_a_layer_of_very_many_files(registry: str, containerd: machines.Containerd, disk: Path, tmp_path: Path) -> None:
    directories = [(member(f"lib/{n}", tarfile.DIRTYPE), b"") for n in range(100)]
    files = [(member(f"lib/{n % 100}/{n}.py"), b"%d" % n) for n in range(int(os.environ.get("LAYER_FILES", "3000")))]
    layer = gzipped(archive((member("lib", tarfile.DIRTYPE), b""), *directories, *files))
    assert build_and_compare([factories.push(registry, "many", [layer])], containerd, disk, tmp_path) == []


def test_the_table_of_images_is_ctrs_own(
    registry: str, containerd: machines.Containerd, disk: Path, tmp_path: Path
) -> None:
    layer = gzipped(archive(*UPPER))
    single = factories.push(registry, "listed", [layer])
    arm = factories.push(registry, "listed-multi", [layer, layer], architecture="arm64", tag="arm")
    amd = factories.push(registry, "listed-multi", [layer, gzipped(archive(*TOP))], tag="amd")
    index = factories.push_index(registry, "listed-multi", {"amd64": amd, "arm64": arm})
    assert build_and_compare([single, index], containerd, disk, tmp_path) == []
    machines.wait_for(
        lambda: containerd.ctr("images", "ls").count("io.cri-containerd.image=managed") >= 4, tmp_path / "job.json"
    )
    listed = [line.split() for line in containerd.ctr("images", "ls").splitlines()]
    wanted = [words for words in listed if words[2] in (single.digest, index.digest) or words[0] == "REF"]
    ours = [line.split() for line in (disk / "images.metadata").read_text().splitlines()]
    assert ours == wanted
    assert len(read_images(str(disk))) == 4
