"""Makes layers and images, and puts them into a registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

OCI = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Layer:
    """A layer's archive and its blob."""

    tar: bytes
    blob: bytes
    media_type: str = "application/vnd.oci.image.layer.v1.tar+gzip"
    diff_id: str = ""
    """Empty: the archive's digest."""


@dataclass(frozen=True)
class Pushed:
    """An image in a registry."""

    reference: str
    digest: str
    config: str
    diff_ids: tuple[str, ...]
    layers: tuple[Layer, ...]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    """A tar member, 0644 (directories 0755), root's, of a fixed time."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = 1_600_000_000
    xattrs = fields.pop("xattrs", {})
    for field, value in fields.items():
        setattr(info, field, value)
    info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in xattrs.items()}
    return info


def archive(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive of MEMBERS and their contents."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format, encoding="utf-8", errors="surrogateescape") as tar:
        for info, content in members:
            if info.type == tarfile.REGTYPE:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def gzipped(tar: bytes, members: int = 1) -> Layer:
    """TAR as a gzip blob of so many members."""
    step = -(-len(tar) // members)
    pieces = [tar[at : at + step] for at in range(0, len(tar), step)]
    return Layer(tar, b"".join(gzip.compress(piece, 6, mtime=0) for piece in pieces))


def zstd(tar: bytes) -> Layer:
    done = subprocess.run(["zstd", "-q", "-c"], input=tar, stdout=subprocess.PIPE, check=True)
    return Layer(tar, done.stdout, "application/vnd.oci.image.layer.v1.tar+zstd")


def plain(tar: bytes) -> Layer:
    return Layer(tar, tar, "application/vnd.oci.image.layer.v1.tar")


def push(
    host: str,
    repository: str,
    layers: Sequence[Layer],
    *,
    tag: str = "v1",
    architecture: str = "amd64",
    docker: bool = False,
    headers: dict[str, str] | None = None,
) -> Pushed:
    """Put an image of LAYERS into the registry at HOST."""
    diff_ids = tuple(layer.diff_id or digest(layer.tar) for layer in layers)
    config = json.dumps(
        {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    ).encode()
    config_type = (
        "application/vnd.docker.container.image.v1+json" if docker else "application/vnd.oci.image.config.v1+json"
    )
    layer_type = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER if docker else OCI,
            "config": {"mediaType": config_type, "digest": digest(config), "size": len(config)},
            "layers": [
                {
                    "mediaType": layer_type if docker else layer.media_type,
                    "digest": digest(layer.blob),
                    "size": len(layer.blob),
                }
                for layer in layers
            ],
        }
    ).encode()
    with_headers = headers or {}
    for blob in {layer.blob for layer in layers} | {config}:
        put_blob(host, repository, blob, with_headers)
    put_manifest(host, repository, tag, DOCKER if docker else OCI, manifest, with_headers)
    return Pushed(f"{host}/{repository}:{tag}", digest(manifest), digest(config), diff_ids, tuple(layers))


def push_index(host: str, repository: str, images: dict[str, Pushed], tag: str = "v1") -> Pushed:
    """An index of IMAGES by architecture, which are in the same repository already."""
    manifests = []
    for architecture, image in images.items():
        body = _request(host, "GET", f"/v2/{repository}/manifests/{image.digest}", {"Accept": OCI})[1]
        platform = {"os": "linux", "architecture": architecture}
        manifests.append({"mediaType": OCI, "digest": image.digest, "size": len(body), "platform": platform})
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()
    put_manifest(host, repository, tag, OCI_INDEX, index, {})
    first = next(iter(images.values()))
    return Pushed(f"{host}/{repository}:{tag}", digest(index), first.config, first.diff_ids, first.layers)


def put_blob(host: str, repository: str, blob: bytes, headers: dict[str, str]) -> None:
    answer, _ = _request(host, "POST", f"/v2/{repository}/blobs/uploads/", headers)
    where = answer["Location"].partition(host)[2] or answer["Location"]
    _request(
        host, "PUT", f"{where}&digest={digest(blob)}", {"Content-Type": "application/octet-stream", **headers}, blob
    )


def put_manifest(host: str, repository: str, tag: str, kind: str, body: bytes, headers: dict[str, str]) -> None:
    _request(host, "PUT", f"/v2/{repository}/manifests/{tag}", {"Content-Type": kind, **headers}, body)


def _request(
    host: str, method: str, path: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[dict[str, str], bytes]:
    connection = HTTPConnection(host, timeout=60)
    connection.request(method, path, body=body, headers=headers)
    response = connection.getresponse()
    data = response.read()
    assert response.status < 300, (method, path, response.status, data[:300])
    connection.close()
    return dict(response.headers), data
