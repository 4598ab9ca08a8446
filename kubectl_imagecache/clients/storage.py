"""Objects of Cloud Storage that builds write, read and take away: contents records and logs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from kubectl_imagecache.clients.google_http import Api, GoogleHttp
from kubectl_imagecache.core.errors import AlreadyExists, NotFound

ROLE = "roles/storage.objectUser"
_GS = re.compile(r"gs://([^/]+)/(.+)")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object and where it goes."""

    url: str
    """gs://BUCKET/OBJECT"""
    body: bytes


class Storage:
    """Cloud Storage; every method raises NotPermitted, Unauthenticated, Unavailable, BadAnswer."""

    def __init__(self, http: GoogleHttp) -> None:
        self._http = http

    def put(self, wanted: StoredObject) -> None:
        """Make the object, or leave the one that is there: nothing is ever overwritten. Raises NotFound for the bucket.

        Names tell the content apart, so that an earlier try of which the answer was lost counts as done.
        """
        bucket, name = _parts(wanted.url)
        query = f"uploadType=media&name={quote(name, safe='')}&ifGenerationMatch=0"
        path, permission = f"b/{quote(bucket, safe='')}/o?{query}", "storage.objects.create"
        try:
            self._http.post(Api.UPLOAD, path, wanted.body, permission=permission, on=wanted.url, role=ROLE)
        except AlreadyExists:
            return

    def get(self, url: str, max_bytes: int) -> bytes:
        """The object's bytes; raises NotFound, ValueError for what is no address, BadAnswer for more than MAX_BYTES."""
        bucket, name = _parts(url)
        path = f"b/{quote(bucket, safe='')}/o/{quote(name, safe='')}?alt=media"
        permission, role = "storage.objects.get", "roles/storage.objectViewer"
        return self._http.get(Api.STORAGE, path, permission=permission, on=url, role=role, max_bytes=max_bytes).body

    def delete(self, url: str) -> bool:
        """Delete the object; False if there was none."""
        bucket, name = _parts(url)
        path, permission = f"b/{quote(bucket, safe='')}/o/{quote(name, safe='')}", "storage.objects.delete"
        try:
            self._http.send("DELETE", Api.STORAGE, path, permission=permission, on=url, role=ROLE)
        except NotFound:
            return False
        return True


def _parts(url: str) -> tuple[str, str]:
    found = _GS.fullmatch(url)
    if found is None:
        raise ValueError(f"not the address of an object: {url}")
    return found[1], found[2]
