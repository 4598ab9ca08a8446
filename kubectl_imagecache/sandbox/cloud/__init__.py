"""The sandbox's Google cloud: GKE and Compute, spoken to by gcloud and Google's clients alike."""

from kubectl_imagecache.sandbox.cloud.cloud import Cloud
from kubectl_imagecache.sandbox.cloud.machines import BootHook, Machine
from kubectl_imagecache.sandbox.cloud.state import EMPTY, Held, NodeSink, Timing

__all__ = ["EMPTY", "BootHook", "Cloud", "Held", "Machine", "NodeSink", "Timing"]
