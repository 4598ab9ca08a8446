"""The formats of `roll --emit`, by name."""

from __future__ import annotations

from kubectl_imagecache.core.emit import Replacement
from kubectl_imagecache.render.emit_gcloud import gcloud
from kubectl_imagecache.render.emit_terraform import terraform
from kubectl_imagecache.render.emit_yaml import compute_class, karpenter

_FORMATS = {"terraform": terraform, "gcloud": gcloud, "computeclass": compute_class, "karpenter": karpenter}


def emitted(form: str, what: Replacement) -> str:
    """WHAT in the format FORM, one of core.iac.FORMATS; raises KeyError for another."""
    return _FORMATS[form](what)
