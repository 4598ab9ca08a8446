"""The Kubernetes client: options are cheap to import, the rest loads when it is first named."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kubectl_imagecache.clients.kube.options import SYSTEM_NAMESPACES, KubeOptions, Scope, is_system, parse_timeout

if TYPE_CHECKING:
    from kubectl_imagecache.clients.kube.client import Kube
    from kubectl_imagecache.clients.kube.documents import check_document, fold_documents

__all__ = [
    "SYSTEM_NAMESPACES",
    "Kube",
    "KubeOptions",
    "Scope",
    "check_document",
    "fold_documents",
    "is_system",
    "parse_timeout",
]

_HOMES = {"Kube": "client", "fold_documents": "documents", "check_document": "documents"}


def __getattr__(name: str) -> Any:
    """Load NAME's module now: msgspec and urllib3 stay out of the start-up of `--help` and completion."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
