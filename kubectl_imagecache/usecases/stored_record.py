"""Take away the contents record that a build stored in Cloud Storage."""

from __future__ import annotations

from dataclasses import dataclass

from kubectl_imagecache.clients.storage import Storage
from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import Contents
from kubectl_imagecache.core.errors import NotFound, Unauthenticated, Unavailable, UserError


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What has come of a record."""

    deleted: bool
    """False also of one that wasn't there."""
    stays: str = ""
    """Why it is still there."""


def forget(storage: Storage, link: record.RecordLink) -> Forgotten:
    """Delete the record behind LINK; to be called before its disk image goes, which alone tells where it lies.

    What lies there and is no record stays: the link may be anybody's. Raises Unauthenticated and Unavailable.
    """
    try:
        found = record.linked(link, storage.get(link.url, record.MAX_JSON))
        if not isinstance(found, Contents):
            return Forgotten(False, found.why)
        return Forgotten(storage.delete(link.url))
    except NotFound:
        return Forgotten(False)
    except (Unauthenticated, Unavailable):
        raise
    except UserError as error:
        return Forgotten(False, error.message)
