"""What an archive must not do to the machine, whatever is in it."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_imagecache.builder.checksums import layer_md5, tree_sha256
from kubectl_imagecache.builder.failures import BuildFailed
from kubectl_imagecache.builder.inside import normal
from kubectl_imagecache.builder.stream import ByteStream
from kubectl_imagecache.builder.tar import TarReader
from kubectl_imagecache.builder.untar import Unpacked, Untar
from tests.builder import judge
from tests.builder.factories import archive, member
from tests.builder.machines import need

PIECE = 1 << 20
DIR, LINK, SYM = tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE
UP = member("up", SYM, linkname="../../outside")
Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture(autouse=True)
def root_only() -> None:
    need()


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "layer" / "fs").mkdir(parents=True)
    return tmp_path / "layer" / "fs"


def untar(
    folder: Path, *members: Member, base: bool = False, max_bytes: int = 1 << 40, max_entries: int = 1000
) -> Unpacked:
    tar = archive(*members)
    reader = TarReader(ByteStream(tar[at : at + PIECE] for at in range(0, len(tar), PIECE)))
    return Untar(str(folder), base, max_bytes, max_entries).run(reader)


@pytest.mark.parametrize(
    "members",
    [
        [(member("../../outside"), b"x")],
        [(member("/../outside"), b"x")],
        [(member("up", SYM, linkname=".."), b""), (member("up/../outside"), b"x"), (member("up/outside"), b"x")],
        [(member("up", SYM, linkname="../.."), b""), (member("up/outside"), b"x")],
        [(member("a/b", SYM, linkname="../../../.."), b""), (member("a/b/outside"), b"x")],
        [(member("up", SYM, linkname="../../outside"), b""), (member("up"), b"x")],
        [(member("hard", LINK, linkname="../../outside"), b""), (member("hard"), b"x")],
        [(UP, b""), (member("hard", LINK, linkname="up"), b""), (member("hard"), b"x")],
        [(member("up", SYM, linkname="../.."), b""), (member("hard", LINK, linkname="up/outside"), b"")],
        [(member("d/", DIR), b""), (member("d", SYM, linkname="../.."), b""), (member("d/outside"), b"x")],
        [(member("up", SYM, linkname="../.."), b""), (member("up/.wh.outside"), b""), (member("up/.wh..wh..opq"), b"")],
        [(UP, b""), (member("up/", DIR, mode=0), b""), (member("up/.wh..wh..opq"), b"")],
    ],
)  # fmt: skip
@pytest.mark.parametrize("base", [True, False], ids=["base", "upper"])
def test_nothing_leaves_the_layers_folder(layer: Path, members: list[Member], base: bool) -> None:
    outside = layer.parents[1]
    before = {path: facts for path, facts in judge.look(outside).items() if not path.startswith(b"layer/fs")}
    try:
        untar(layer, *members, base=base)
    except BuildFailed as failure:
        assert failure.kind == "bad-layer"
    assert {path: facts for path, facts in judge.look(outside).items() if not path.startswith(b"layer/fs")} == before


parts = st.sampled_from(["a", "b", "..", ".", "up", "", "outside", ".wh.a", ".wh..wh..opq", ".wh.."])
paths = st.lists(parts, min_size=1, max_size=4).map("/".join)
kinds = st.sampled_from([tarfile.REGTYPE, DIR, LINK, SYM, tarfile.FIFOTYPE, tarfile.CHRTYPE])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(paths, kinds, paths), min_size=1, max_size=8), st.booleans())
def test_no_sequence_of_entries_leaves_the_folder(entries: list[tuple[str, bytes, str]], base: bool) -> None:
    members = [(member(name or "x", kind, linkname=link), b"") for name, kind, link in entries]
    with TemporaryDirectory() as temporary:
        (Path(temporary) / "outside").write_text("mine")
        layer = Path(temporary) / "layer" / "fs"
        layer.mkdir(parents=True)
        unpacked = None
        try:
            unpacked = untar(layer, *members, base=base)
        except BuildFailed as failure:
            assert failure.kind == "bad-layer"
        assert sorted(path.name for path in Path(temporary).iterdir()) == ["layer", "outside"]
        assert (Path(temporary) / "outside").read_text() == "mine"
        assert list(layer.parent.iterdir()) == [layer]
        if unpacked is not None:
            files = {path for path, facts in judge.look(layer).items() if facts["type"] == stat.S_IFREG}
            assert set(unpacked.md5s) == files
            directories = {path for path, facts in judge.look(layer).items() if facts["type"] == stat.S_IFDIR}
            assert set(unpacked.implied) <= directories


def test_a_loop_of_links_is_a_bad_layer(layer: Path) -> None:
    members = [(member("a", SYM, linkname="b"), b""), (member("b", SYM, linkname="a"), b""), (member("a/x"), b"")]
    with pytest.raises(BuildFailed, match="loop of symbolic links"):
        untar(layer, *members)


def test_a_bomb_ends_at_the_limit_and_not_at_the_disks_end(layer: Path) -> None:
    with pytest.raises(BuildFailed) as caught:
        untar(layer, (member("a"), b"x" * 600), (member("b"), b"x" * 600), max_bytes=1000)
    assert caught.value.kind == "too-large"
    with pytest.raises(BuildFailed, match="more than 5 entries"):
        untar(layer, *[(member(f"f{n}"), b"") for n in range(9)], max_entries=5)


def test_a_sparse_bomb_counts_as_what_it_claims_to_be(layer: Path) -> None:
    info = member("hole")
    info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 50)}
    with pytest.raises(BuildFailed) as caught:
        untar(layer, (info, b"x"), max_bytes=1 << 30)
    assert caught.value.kind == "too-large"


@pytest.mark.parametrize(
    "members",
    [
        [(member("f"), b""), (member("f/below-a-file"), b"")],
        [(member("hard", LINK, linkname="missing"), b"")],
        [(member("d/", DIR), b""), (member("hard", LINK, linkname="d"), b"")],
        [(member("x"), b""), (member(".wh.x"), b"")],
        [(member(".wh."), b"")],
        [(member(".wh..."), b"")],
        [(member("n" * 256), b"")],
        [(member("/".join(["d" * 200] * 30)), b"")],
        [(member("x", b"Z"), b"")],
    ],
)
def test_what_containerd_cannot_unpack_fails_here_too(layer: Path, members: list[Member]) -> None:
    with pytest.raises(BuildFailed) as caught:
        untar(layer, *members)
    assert caught.value.kind == "bad-layer"


def test_zeros_become_holes_and_stay_zeros(layer: Path) -> None:
    content = b"a" * (1 << 20) + bytes(8 << 20)
    untar(layer, (member("holes"), content))
    assert (layer / "holes").read_bytes() == content
    assert (layer / "holes").stat().st_blocks * 512 < 3 << 20


def test_the_tree_hash_is_the_same_each_time_and_sees_what_the_md5_does_not(layer: Path) -> None:
    members = [
        (member("d/f", mode=0o640), b"f"),
        (member("d/g", LINK, linkname="d/f"), b""),
        (member("l", SYM, linkname="d"), b""),
    ]
    unpacked = untar(layer, *members)
    again = layer.parent / "again"
    again.mkdir()
    untar(again, *members)
    tree = tree_sha256(str(layer), unpacked.md5s.get)
    assert tree == tree_sha256(str(again), lambda path: None)
    changes: list[Callable[[], object]] = [
        lambda: (again / "d/f").chmod(0o641),
        lambda: os.chown(again / "d", 1, 0),
        lambda: os.utime(again / "d/f", (5, 5)),
        lambda: (again / "d/f").rename(again / "d/h"),
        lambda: relink(again / "l", "e"),
        lambda: os.setxattr(again / "d", "user.x", b"y"),
        lambda: (again / "d/g").write_bytes(b"g"),
        lambda: os.mknod(again / "w", stat.S_IFCHR, 0),
    ]
    seen = {tree}
    for change in changes:
        change()
        found = tree_sha256(str(again), lambda path: None)
        assert found not in seen
        seen.add(found)


def relink(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


def test_the_md5_is_that_of_the_shell_with_md5sums_backslash(layer: Path) -> None:
    need("md5sum", "find")
    members = [(member(name), name.encode()) for name in ("a", "new\nline", "back\\slash", "cr\r", "d/é")]
    unpacked = untar(layer, *members, (member("twice", LINK, linkname="a"), b""))
    script = f"cd '{layer}' && find . -type f -exec md5sum {{}} + | awk '{{print $1}}' | LC_ALL=C sort | md5sum"
    # A name with a line break is escaped by md5sum, so a line is a file here.
    assert os.popen(script).read().split()[0] == layer_md5(unpacked.md5s.items())
    assert layer_md5([]) == "d41d8cd98f00b204e9800998ecf8427e"


@pytest.mark.parametrize(
    ("name", "path"),
    [(b"./a/../b//c/", b"b/c"), (b"//x", b"x"), (b"/..", b""), (b"../../x", b"x"), (b".", b""), (b"", b"")],
)
def test_names_are_relative_to_the_root_and_stay_below_it(name: bytes, path: bytes) -> None:
    assert normal(name) == path
