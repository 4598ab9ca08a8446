"""kubectl-imagecache: eyes and hands for the container image cache disks of GKE node pools."""

__version__ = "0.1.0"
