"""The reader of archives, against Python's own writer and GNU tar, and against damage."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_imagecache.builder import tar
from kubectl_imagecache.builder.failures import BuildFailed
from kubectl_imagecache.builder.stream import ByteStream
from tests.builder.factories import archive, member
from tests.builder.machines import need


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def read(data: bytes, piece: int = 1000) -> list[tuple[tar.Entry, bytes]]:
    """Every entry of the archive DATA and its contents, holes filled."""
    reader = tar.TarReader(ByteStream(pieces(data, piece)))
    found = []
    while (entry := reader.next()) is not None:
        content = bytearray(entry.size)
        if entry.sparse is None:
            content[:] = b"".join(reader.body())
        for offset, length in entry.sparse or ():
            content[offset : offset + length] = b"".join(reader.stored(length))
        found.append((entry, bytes(content)))
    return found


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=300).filter(
    lambda name: not name.endswith("/")
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            names,
            st.binary(max_size=1500),
            st.integers(0, 0o7777),
            st.integers(0, 2**32 - 2),
            st.integers(0, 2**34),
            st.dictionaries(
                st.from_regex(r"user\.[a-z]{1,9}", fullmatch=True), st.text("abc=\n é", min_size=1), max_size=2
            ),
        ),
        max_size=5,
    ),
    st.sampled_from([1, 7, 512, 100_000]),
)
def test_what_was_written_is_read(files: list[tuple[str, bytes, int, int, int, dict[str, str]]], piece: int) -> None:
    members = [
        (member(name, mode=mode, uid=uid, gid=uid, mtime=mtime, xattrs=xattrs), content)
        for name, content, mode, uid, mtime, xattrs in files
    ]
    found = [(e.name, content, e.mode, e.uid, e.mtime_ns, e.xattrs) for e, content in read(archive(*members), piece)]
    assert found == [
        (
            name.encode(),
            content,
            mode,
            uid,
            mtime * 10**9 if mtime * 10**9 < 2**63 else 0,
            {key.encode(): value.encode() for key, value in xattrs.items()},
        )
        for name, content, mode, uid, mtime, xattrs in files
    ]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_an_error_or_harmless_never_anything_else(data: st.DataObject) -> None:
    whole = bytearray(
        archive(
            (member("a" * 200, xattrs={"user.x": "y"}), b"x" * 700),
            (member("d/", tarfile.DIRTYPE), b""),
            (member("l", tarfile.SYMTYPE, linkname="b" * 150), b""),
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        read(bytes(whole[:cut]))
    except BuildFailed as failure:
        assert failure.kind == "bad-layer"


@pytest.mark.parametrize("form", ["gnu", "posix", "0.0", "0.1", "1.0"])
def test_sparse_files_of_every_form_that_gnu_tar_writes(form: str, tmp_path: Path) -> None:
    need("tar")
    with (tmp_path / "holes").open("wb") as file:
        for at in range(40):
            file.seek(at * 200_000)
            file.write(b"data%d" % at)
        file.truncate(9_000_000)
    options = [f"--sparse-version={form}", "--format=posix"] if form[0].isdigit() else [f"--format={form}"]
    done = subprocess.run(["tar", "-cS", *options, "-C", str(tmp_path), "holes"], stdout=subprocess.PIPE, check=True)
    assert len(done.stdout) < 1_000_000
    ((entry, content),) = read(done.stdout)
    assert (entry.name, entry.type) == (b"holes", tar.REGULAR)
    assert content == (tmp_path / "holes").read_bytes()


def test_a_sparse_file_whose_map_lies_is_refused() -> None:
    info = member("liar")
    info.pax_headers = {"GNU.sparse.map": "0,10,5,10", "GNU.sparse.size": "100", "GNU.sparse.name": "liar"}
    with pytest.raises(BuildFailed, match="not in order"):
        read(archive((info, b"x" * 20)))
    info.pax_headers["GNU.sparse.map"] = "0,10,90,20"
    with pytest.raises(BuildFailed, match="past its end"):
        read(archive((info, b"x" * 20)))


def test_an_old_directory_is_a_name_with_a_slash() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as file:
        file.addfile(member("old/", tarfile.AREGTYPE))
    ((entry, _),) = read(out.getvalue())
    assert entry.type == tar.DIRECTORY


def with_field(data: bytes, at: int, field: bytes) -> bytes:
    """DATA with another FIELD in its first header, whose checksum is made anew."""
    header = bytearray(data[:512])
    header[at : at + len(field)] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


@pytest.mark.parametrize(
    ("field", "mode"),
    [(b"00004755", 0o4755), (b"   644 \0", 0o644), (b"\0\0\0\0\0\0\0\0", 0), (b"\x80\0\0\0\0\0\x01\xed", 0o755)],
    ids=["to the last byte", "spaces", "empty", "base 256"],
)
def test_numbers_are_read_in_every_form_that_go_reads(field: bytes, mode: int) -> None:
    ((entry, _),) = read(with_field(archive((member("a"), b"")), 100, field))
    assert entry.mode == mode


@pytest.mark.parametrize("field", [b"0_000644", b"-0000644", b"0000 644", b"0000648\0"])
def test_what_only_python_takes_for_a_number_is_damage(field: bytes) -> None:
    with pytest.raises(BuildFailed, match="damaged number"):
        read(with_field(archive((member("a"), b"")), 100, field))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"A" + archive((member("a"), b""))[1:], "wrong checksum"),
        (b"\0" * 512 + b"y" * 512, "zero block"),
        (archive((member("a"), b"x" * 3000))[:2000], "ends within a file"),
        (archive((member("a"), b""))[:300], "ends within a header"),
    ],
)
def test_damage_is_named(data: bytes, why: str) -> None:
    with pytest.raises(BuildFailed, match=why):
        read(data)
