"""Resource names in all the spellings that clients send."""

from __future__ import annotations

import re

from kubectl_imagecache.sandbox.cloud.errors import invalid_field

NAME = r"(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)"


def resolve(text: str, project: str, collection: str) -> str:
    """The path `projects/P/COLLECTION/NAME` for TEXT: a full URL (any host), a partial path, or a bare name.

    COLLECTION is where a bare name belongs, such as `zones/us-central1-a/disks`.
    """
    if "://" in text or text.startswith(("projects/", "/projects/")):
        _, found, rest = text.partition("projects/")
        return found + rest.rstrip("/")
    text = text.strip("/")
    if text.startswith(("global/", "zones/", "regions/")):
        return f"projects/{project}/{text}"
    if "/" in text and not text.startswith("family/"):
        # `diskTypes/pd-ssd`: the collection's last word and the name.
        return f"projects/{project}/{collection.rpartition('/')[0]}/{text}"
    return f"projects/{project}/{collection}/{text}"


def short(text: str) -> str:
    """The last part of a resource path or URL."""
    return text.rstrip("/").rpartition("/")[2]


def project_of(path: str) -> str:
    """`p` of `projects/p/…`."""
    return path.split("/")[1]


def zone_of(path: str) -> str:
    """`z` of `projects/p/zones/z/…`; empty if it has none."""
    found = re.search(r"/zones/([^/]+)", path)
    return found[1] if found else ""


def region_of(zone: str) -> str:
    """`us-central1` for `us-central1-a`, and for itself."""
    return zone if zone[-1:].isdigit() else zone.rpartition("-")[0]


def check_name(name: str, field: str = "resource.name") -> str:
    """NAME, or ApiError 400 if it isn't an RFC 1035 label."""
    if not re.fullmatch(NAME, name):
        raise invalid_field(field, name, f"Must be a match of regex '{NAME}'")
    return name
