"""Contents records in a sandbox's Cloud Storage."""

from __future__ import annotations

import hashlib

from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import Contents
from kubectl_imagecache.sandbox.embedded import Sandbox

CONTENTS = record.to_json(Contents((), None, "kubectl-imagecache")).encode()


def stored_record(sandbox: Sandbox, disk_image: str, body: bytes = CONTENTS, name: str = "") -> str:
    """Store BODY as a build stores DISK_IMAGE's record, or under NAME; the description that leads there."""
    sha256 = hashlib.sha256(body).hexdigest()
    name = name or f"ours/{record.object_name(disk_image, sha256)}"
    sandbox.cloud.state.objects["records", name] = body
    return record.link("No container images.", f"gs://records/{name}", sha256)
