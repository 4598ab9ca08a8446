"""Whole builds by the program as the VM runs it: real registries, a real ext4, and everything that goes wrong."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubectl_imagecache.builder.bundle import startup_script
from kubectl_imagecache.builder.job import Job, JobImage, Limits, RegistryAccess, Target, decode, encode
from kubectl_imagecache.builder.layout import read_snapshots
from kubectl_imagecache.builder.report import read
from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import Contents
from kubectl_imagecache.core.references import parse
from tests.builder import factories, machines, runs
from tests.builder.factories import Pushed, archive, gzipped, member
from tests.builder.scripted import Answer, Asked, Scripted, scripted, times

BASE = gzipped(archive((member("etc/", tarfile.DIRTYPE), b""), (member("etc/base"), b"base" * 1000)))
NOISE = os.urandom(3 << 20)


@pytest.fixture(autouse=True)
def root_and_ext4() -> None:
    machines.need("mkfs.ext4", "e2fsck", "losetup", "mount")


@pytest.fixture
def device(workshop: Path, tmp_path: Path) -> Iterator[str]:
    with machines.loop_device(workshop / f"{tmp_path.name}.img", 96 << 20) as found:
        yield found


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as registry:
        yield registry


def pushed(server: Scripted, *layers: factories.Layer, repository: str = "r") -> Pushed:
    return Pushed(f"{server.host}/{repository}:v1", server.add(repository, list(layers)), "", (), ())


def own(text: str) -> factories.Layer:
    return gzipped(archive((member(f"opt/{text}"), text.encode() * 100)))


def test_a_device_becomes_a_verified_cache_with_every_layer_once(registry: str, device: str, tmp_path: Path) -> None:
    images = [factories.push(registry, f"shared{n}", [BASE, own(f"app{n}")]) for n in range(3)]
    run = runs.build(runs.job(images, Target(device=device)), tmp_path)
    assert (run.status, run.last("done").fields["images"]) == (0, 3)
    assert [event.sequence for event in run.events] == list(range(len(run.events)))
    with machines.mounted(device, tmp_path / "look") as root:
        assert len(read_snapshots(str(root))) == 4
        assert sorted(path.name for path in root.iterdir()) == [
            *("imagecache.json", "imagecache.sums", "images.metadata", "lost+found", "snapshots", "snapshots.metadata"),
        ]
        contents = record.from_json((root / "imagecache.json").read_bytes())
        assert isinstance(contents, Contents)
        assert [(str(i.ref), i.digest, len(i.layers)) for i in contents.images] == [
            (image.reference, image.digest, 2) for image in images
        ]
        assert (contents.plan, contents.builder) == ("f00d", "kubectl-imagecache test")
    found = runs.read("--device", device, "--contents")
    assert (found.findings, found.checked, found.partition) == ((), 4, False)
    assert found.record == contents


def test_the_startup_script_does_all_of_it_with_a_tight_umask(registry: str, tmp_path: Path) -> None:
    image = factories.push(registry, "scripted", [BASE])
    disk = tmp_path / "disk"
    disk.mkdir()
    script = startup_script(runs.job([image], Target(folder=str(disk))))
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, umask=0o077)
    assert (done.returncode, done.stderr) == (0, "")
    assert runs.read("--folder", str(disk), "--contents").findings == ()
    assert stat.S_IMODE((disk / "snapshots/1/fs").stat().st_mode) == 0o755
    assert stat.S_IMODE((disk / "images.metadata").stat().st_mode) == 0o644


def test_a_disk_may_go_without_checksums(registry: str, device: str, tmp_path: Path) -> None:
    image = factories.push(registry, "bare", [BASE])
    assert runs.build(runs.job([image], Target(device=device), checksums=False), tmp_path).status == 0
    with machines.mounted(device, tmp_path / "look") as root:
        assert (root / "snapshots.metadata").read_text() == f"{image.diff_ids[0]} snapshots/1/fs\n"


def test_open_basic_and_token_registries_in_one_build(
    registry: str, workshop: Path, server: Scripted, tmp_path: Path
) -> None:
    machines.need("htpasswd")
    login = {"Authorization": "Basic " + base64.b64encode(b"me:pass").decode()}
    (tmp_path / "login").write_text("me:pass")
    token = f'Bearer realm="http://{server.host}/token",service="s"'

    def guard(asked: Asked) -> Answer | None:
        path, headers = asked.path, asked.headers
        if path.startswith("/token"):
            return Answer(200, b'{"token": "t0ken"}')
        return None if headers.get("authorization") == "Bearer t0ken" else Answer(401, b"", {"WWW-Authenticate": token})

    server.rules.append(guard)
    with machines.docker_registry(workshop / "basic", "me:pass") as basic:
        images = [
            factories.push(registry, "open", [BASE]),
            factories.push(basic, "closed", [BASE, own("closed")], headers=login),
            pushed(server, BASE, own("token")),
        ]
        access = [
            RegistryAccess(registry, endpoint=f"http://{registry}"),
            RegistryAccess(basic, "file", str(tmp_path / "login"), f"http://{basic}"),
            RegistryAccess(server.host, endpoint=f"http://{server.host}"),
        ]
        (tmp_path / "disk").mkdir()
        job = runs.job(images, Target(folder=str(tmp_path / "disk")), registries=access)
        run = runs.build(job, tmp_path)
    assert run.status == 0, run.output
    assert "t0ken" not in run.output
    assert len(read_snapshots(str(tmp_path / "disk"))) == 3


def test_a_full_disk_says_how_large_it_should_be(server: Scripted, device: str, tmp_path: Path) -> None:
    image = pushed(server, gzipped(archive((member("big"), b"text and more " * (8 << 20)))))
    run = runs.build(runs.job([image], Target(device=device)), tmp_path)
    assert (run.status, run.failure["kind"]) == (1, "no-space")
    run = runs.build(runs.job([image], Target(device=device), limits=Limits(unpacked_bytes=1 << 20)), tmp_path)
    assert (run.status, run.failure["kind"]) == (1, "too-large")
    image = pushed(server, *[gzipped(archive((member(f"big{n}"), NOISE[n:] * 9))) for n in range(4)])
    run = runs.build(runs.job([image], Target(device=device)), tmp_path)
    needed = run.failure["needed"]
    assert (run.status, run.failure["kind"]) == (1, "no-space")
    assert isinstance(needed, int)
    assert needed > 4 * 9 * len(NOISE)
    with machines.mounted(device, tmp_path / "look") as root:
        assert not (root / "snapshots.metadata").exists()


def wrong_bytes(blob: bytes) -> bytes:
    return gzipped(archive((member("etc/evil"), b"evil"))).blob.ljust(len(blob), b"\0")[: len(blob)]


def last_byte_changed(blob: bytes) -> bytes:
    return blob[:-1] + bytes([blob[-1] ^ 1])


@pytest.mark.parametrize("damage", [wrong_bytes, last_byte_changed, lambda blob: bytes(len(blob))])
def test_a_blob_that_is_not_what_its_digest_says_is_told_as_such(
    server: Scripted, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    image = pushed(server, BASE)
    server.bodies[f"/v2/r/blobs/{factories.digest(BASE.blob)}"] = damage(BASE.blob)
    run = failed_build(image, tmp_path)
    assert run.failure["kind"] == "bad-digest"
    assert len(server.paths(factories.digest(BASE.blob))) == 2


def test_a_blob_damaged_once_on_its_way_is_fetched_again(server: Scripted, tmp_path: Path) -> None:
    image = pushed(server, BASE)
    server.rules.append(times(1, factories.digest(BASE.blob), lambda asked: Answer(200, wrong_bytes(BASE.blob))))
    (tmp_path / "disk").mkdir()
    run = runs.build(runs.job([image], Target(folder=str(tmp_path / "disk"))), tmp_path)
    assert run.status == 0, run.output
    assert not (tmp_path / "disk/snapshots/1/fs/etc/evil").exists()


def failed_build(image: Pushed, tmp_path: Path, **environment: str) -> runs.Run:
    (tmp_path / "disk").mkdir()
    run = runs.build(runs.job([image], Target(folder=str(tmp_path / "disk"))), tmp_path, **environment)
    assert run.status == 1
    assert not (tmp_path / "disk/snapshots.metadata").exists()
    assert not (tmp_path / "disk/images.metadata").exists()
    return run


def test_a_layer_that_is_not_its_diff_id_is_refused(server: Scripted, tmp_path: Path) -> None:
    lying = factories.Layer(b"", BASE.blob, diff_id=factories.digest(b"another"))
    assert failed_build(pushed(server, lying), tmp_path).failure["kind"] == "bad-digest"


def test_a_bad_archive_with_the_right_digest_is_a_bad_layer(server: Scripted, tmp_path: Path) -> None:
    run = failed_build(pushed(server, gzipped(b"no archive" * 1000)), tmp_path)
    assert (run.failure["kind"], run.failure["message"]) == (
        "bad-layer",
        "the layer's archive has a header with a damaged number",
    )


def test_a_cut_gzip_stream_is_a_bad_layer(server: Scripted, tmp_path: Path) -> None:
    cut = factories.Layer(BASE.tar, BASE.blob[:-20])
    assert failed_build(pushed(server, cut), tmp_path).failure["kind"] == "bad-layer"


def test_without_zstd_a_zstd_layer_is_refused_before_anything_is_written(server: Scripted, tmp_path: Path) -> None:
    machines.need("zstd")
    (tmp_path / "bin").mkdir()
    run = failed_build(pushed(server, factories.zstd(BASE.tar)), tmp_path, PATH=str(tmp_path / "bin"))
    assert (run.failure["kind"], list((tmp_path / "disk").iterdir())) == ("no-tool", [])


def test_a_registry_that_is_gone_is_named_with_its_words(server: Scripted, tmp_path: Path) -> None:
    server.rules.append(lambda asked: Answer(403, b'{"errors":[{"code":"DENIED","message":"no \\u001b[2J way"}]}'))
    failure = failed_build(pushed(server, BASE), tmp_path).failure
    assert failure["kind"] == "registry"
    assert failure["message"] == f"{server.host}/r: 403 Forbidden (DENIED: no  [2J way)"


def test_a_used_folder_is_left_alone(server: Scripted, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/theirs").write_text("keep")
    run = runs.build(runs.job([pushed(server, BASE)], Target(folder=str(tmp_path / "disk"))), tmp_path)
    assert run.failure["message"] == f"{tmp_path}/disk is not empty: it has theirs"


@contextmanager
def stalled_build(server: Scripted, target: Target, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A build that waits for its only layer's blob."""
    release = threading.Event()

    def stall(asked: Asked) -> Answer:
        release.wait(20)
        return Answer(503)

    image = pushed(server, BASE)
    server.rules.append(times(9, factories.digest(BASE.blob), stall))
    (tmp_path / "job.json").write_text(encode(runs.job([image], target)))
    process = subprocess.Popen(
        [sys.executable, "-m", "kubectl_imagecache.builder", "build", str(tmp_path / "job.json")],
        cwd=runs.REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    machines.wait_for(lambda: server.paths(factories.digest(BASE.blob)), tmp_path / "job.json")
    try:
        yield process
    finally:
        release.set()
        process.wait(20)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


def last_words(process: subprocess.Popen[str]) -> tuple[object, object]:
    assert process.stdout
    event = read(process.stdout.read().splitlines()[-1])
    assert event is not None
    assert process.wait(20) == 1
    return event.fields["kind"], event.fields["message"]


def test_a_build_that_is_stopped_says_so_and_leaves_no_process_and_no_mount(
    server: Scripted, device: str, tmp_path: Path
) -> None:
    with stalled_build(server, Target(device=device), tmp_path) as process:
        workers = workers_of(process)
        process.send_signal(signal.SIGTERM)
        assert last_words(process) == ("stopped", "stopped by SIGTERM")
    assert len(workers) == 1
    assert not Path(f"/proc/{workers[0]}").exists()
    assert f"{device} " not in Path("/proc/mounts").read_text()


def test_a_worker_that_is_killed_fails_the_build(server: Scripted, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    with stalled_build(server, Target(folder=str(tmp_path / "disk")), tmp_path) as process:
        os.kill(workers_of(process)[0], signal.SIGKILL)
        assert last_words(process) == ("crashed", "a worker died (SIGKILL)")


def test_a_partitioned_disk_is_read_from_its_first_partition(registry: str, device: str, tmp_path: Path) -> None:
    image = factories.push(registry, "partitioned", [BASE])
    # As /dev/disk/by-id names them; not every kernel that runs these tests scans partitions itself.
    (tmp_path / "google-cache-part1").symlink_to(device)
    assert runs.build(runs.job([image], Target(device=str(tmp_path / "google-cache-part1"))), tmp_path).status == 0
    found = runs.read("--device", str(tmp_path / "google-cache"), "--contents")
    assert (found.findings, found.checked, found.partition) == ((), 1, True)


@pytest.fixture
def built(server: Scripted, tmp_path: Path) -> Path:
    """A finished disk of ours, as a folder."""
    disk = tmp_path / "built"
    disk.mkdir()
    run = runs.build(runs.job([pushed(server, BASE, own("app"))], Target(folder=str(disk))), tmp_path)
    assert run.status == 0, run.output
    return disk


def test_a_disk_of_googles_is_verified_by_what_it_has(built: Path) -> None:
    (built / "imagecache.json").unlink()
    (built / "imagecache.sums").unlink()
    found = runs.read("--folder", str(built), "--contents")
    assert (found.findings, found.checked, found.record) == ((), 2, None)
    assert [image.platforms for image in found.images] == ["linux/amd64"] * 2
    assert [layer.folder for layer in sorted(found.layers, key=lambda layer: layer.folder)] == [
        "snapshots/1/fs",
        "snapshots/2/fs",
    ]
    assert {layer.unpacked for layer in found.layers} == {4000, 300}
    (built / "snapshots/1/fs/etc/base").write_text("other")
    (finding,) = runs.read("--folder", str(built), "--contents").findings
    assert finding.startswith("snapshots/1/fs (sha256:")
    assert finding.endswith("): the files have other contents")
    assert runs.read("--folder", str(built)).findings == ()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no snapshots.metadata": (lambda d: (d / "snapshots.metadata").unlink(), "snapshots.metadata can't be read"),
    "empty snapshots.metadata": (lambda d: (d / "snapshots.metadata").write_text(""), "snapshots.metadata is empty"),
    "empty images.metadata": (lambda d: (d / "images.metadata").write_text(""), "images.metadata is empty"),
    "line dropped": (lambda d: drop_line(d / "snapshots.metadata"), "is not in snapshots.metadata"),
    "folder gone": (lambda d: shutil.rmtree(d / "snapshots/2"), "which is no directory there"),
    "folder a link": (
        lambda d: lead_away(d / "snapshots/2", d / "away"),
        "which is no directory there",
    ),
    "mode": (lambda d: (d / "snapshots/1/fs/etc/base").chmod(0o600), "a name, owner, mode"),
    "owner": (lambda d: os.chown(d / "snapshots/1/fs/etc", 5, 5), "a name, owner, mode"),
    "name": (lambda d: (d / "snapshots/1/fs/etc/base").rename(d / "snapshots/1/fs/etc/b"), "a name, owner, mode"),
    "xattr": (lambda d: os.setxattr(d / "snapshots/1/fs", "trusted.overlay.opaque", b"y"), "a name, owner, mode"),
    "record": (lambda d: change_record(d / "imagecache.json"), "disagree about"),
    "damaged record": (lambda d: (d / "imagecache.json").write_text("{"), "imagecache.json: the record is damaged"),
}


@pytest.mark.parametrize(("change", "words"), DAMAGES.values(), ids=DAMAGES)
def test_a_changed_disk_is_noticed(built: Path, change: Callable[[Path], object], words: str) -> None:
    assert runs.read("--folder", str(built), "--contents").findings == ()
    change(built)
    assert [f for f in runs.read("--folder", str(built), "--contents").findings if words in f]


def lead_away(folder: Path, away: Path) -> None:
    folder.rename(away)
    folder.symlink_to(away)


def drop_line(file: Path) -> None:
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:1]))


def change_record(file: Path) -> None:
    document = json.loads(file.read_text())
    document["images"][0]["digest"] = "sha256:" + "0" * 64
    file.write_text(json.dumps(document))


def test_a_disk_without_a_file_system_is_a_finding_and_one_that_is_not_there_a_failure(device: str) -> None:
    found = runs.read("--device", device, "--contents")
    assert found.findings == ("there is no ext4 file system, neither on the disk nor on its first partition",)
    run = runs.run(["read", "--device", f"{device}-missing"])
    assert (run.status, run.failure["kind"]) == (1, "disk")


def test_a_job_survives_its_json_form() -> None:
    job = Job(
        (JobImage(parse("nginx:1.25"), "sha256:" + "a" * 64, "linux/arm64"),),
        Target(device="/dev/sdb"),
        registries=(RegistryAccess("gcr.io", "google"),),
        limits=Limits(5, 6),
    )
    assert decode(encode(job)) == job


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version":1}', '{"version":2,"images":[],"target":{}}', "[" * 9999])
def test_what_is_no_job_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.json").write_text(text)
    run = runs.run(["build", str(tmp_path / "job.json")])
    assert (run.status, run.failure["kind"]) == (1, "bad-job")
