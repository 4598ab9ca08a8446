"""The container images of a make-believe company that serves language models: big ones, small ones, shared layers."""

from __future__ import annotations

import zlib

from kubectl_imagecache.sandbox.catalog import Catalog, ImageSpec, LayerSpec

ACME = "europe-west4-docker.pkg.dev/acme-ai"
"""Private: pulled with the sandbox's password."""
VLLM = f"{ACME}/serving/vllm-server"
TRITON = "nvcr.io/nvidia/tritonserver"
LLAMA = f"{ACME}/models/llama-3.1-8b-instruct"
MISTRAL = f"{ACME}/models/mistral-7b-instruct"
EMBEDDER = f"{ACME}/serving/embedder"
RERANKER = f"{ACME}/serving/reranker"
TRAINER = f"{ACME}/training/trainer"
ETL = f"{ACME}/data/etl-spark"
EVALS = f"{ACME}/research/evals"
NOTEBOOK = "quay.io/jupyter/pytorch-notebook"
GATEWAY = f"{ACME}/web/api-gateway"
CHAT_UI = f"{ACME}/web/chat-ui"
BILLING = f"{ACME}/web/billing"
PLUGINS = "ghcr.io/acme-partner/tool-plugins"
"""Of a partner: nobody in the sandbox may pull it from the registry."""
ENVOY = "docker.io/envoyproxy/envoy"
OTEL = "docker.io/otel/opentelemetry-collector-contrib"
SQL_PROXY = "gcr.io/cloud-sql-connectors/cloud-sql-proxy"
CLOUD_SDK = "gcr.io/google.com/cloudsdktool/google-cloud-cli"
REDIS = "docker.io/library/redis"
BUSYBOX = "docker.io/library/busybox"
PAUSE = "gke.gcr.io/pause"
KUBE_PROXY = "gke.gcr.io/kube-proxy-amd64"
KUBE_DNS = "gke.gcr.io/k8s-dns-kube-dns"
FLUENT_BIT = "gke.gcr.io/fluent-bit"
METRICS_AGENT = "gke.gcr.io/gke-metrics-agent"
PD_CSI = "gke.gcr.io/gcp-compute-persistent-disk-csi-driver"
METRICS_SERVER = "gke.gcr.io/metrics-server"

BOTH = ("amd64", "arm64")
_MIB = 1024 * 1024


def _layer(key: str, compressed_mib: float, unpacked_mib: float) -> LayerSpec:
    """A declared layer of about that size: sizes that are round numbers of MiB look made up, which these are."""
    odd = zlib.crc32(key.encode()) % 40_000
    return LayerSpec(key, round(compressed_mib * _MIB) + odd, round(unpacked_mib * _MIB) + 2 * odd)


_DEBIAN = (_layer("debian-12", 28.2, 74.8),)
_UBUNTU = (_layer("ubuntu-22.04", 28.2, 77.9),)
_ALPINE = (_layer("alpine-3.20", 3.5, 7.8),)
_STATIC = (_layer("distroless-static", 0.8, 2.1),)
_PYTHON = (*_DEBIAN, _layer("python-3.11-libs", 3.3, 9.2), _layer("python-3.11", 15.6, 46.0))
_CUDA = (
    *_UBUNTU,
    _layer("cuda-12.4-base", 4.4, 16.5),
    _layer("cuda-12.4-libs", 1263, 2940),
    _layer("cudnn-9", 747, 1352),
)
_TORCH = (*_CUDA, _layer("python-3.11-cuda", 118, 402), _layer("torch-2.5", 2710, 5680))
_VLLM = (*_TORCH, _layer("vllm-deps-2025-09", 1150, 2930))
_JRE = (*_UBUNTU, _layer("temurin-17-jre", 44, 128))
_SPARK = (*_JRE, _layer("spark-3.5", 305, 382))


def _image(
    name: str,
    tag: str,
    base: tuple[LayerSpec, ...],
    *own_mib: tuple[float, float],
    archs: tuple[str, ...] = ("amd64",),
    dialect: str = "oci",
) -> ImageSpec:
    own = (_layer(f"{name}:{tag}/{number}", *size) for number, size in enumerate(own_mib))
    return ImageSpec(name, tag, (*base, *own), archs, dialect)


def _as_tag(image: ImageSpec, tag: str) -> ImageSpec:
    """The same image, the same digest, under another tag."""
    return ImageSpec(image.name, tag, image.layers, image.archs, image.dialect, image.created)


_VLLM_063 = _image(VLLM, "0.6.3", _VLLM, (212, 540), (0.3, 0.9))
_VLLM_066 = _image(VLLM, "0.6.6", _VLLM, (219, 561), (0.3, 0.9))
_EMBEDDER_13 = _image(EMBEDDER, "1.3.0", _TORCH, (96, 260), (1180, 1244))
_EMBEDDER_14 = _image(EMBEDDER, "1.4.0", _TORCH, (101, 268), (1180, 1244))

SHELF: tuple[ImageSpec, ...] = (
    _VLLM_063,
    _VLLM_066,
    _as_tag(_VLLM_063, "prod"),
    _image(TRITON, "24.10-py3", _CUDA, (6120, 12800), (410, 870), dialect="docker"),
    _image(LLAMA, "2025-09", _STATIC, (4980, 5010), (4990, 5000), (4910, 4920), (1110, 1120)),
    _image(LLAMA, "2025-12", _STATIC, (4981, 5010), (4991, 5000), (4912, 4920), (1110, 1120)),
    _image(MISTRAL, "v0.3", _STATIC, (4940, 4950), (4990, 5000), (4200, 4210)),
    _EMBEDDER_13,
    _EMBEDDER_14,
    _image(RERANKER, "2.1.0", _TORCH, (88, 240), (560, 571)),
    _image(TRAINER, "2025.11", _TORCH, (840, 2210), (35, 92)),
    _image(ETL, "4.2.1", _SPARK, (186, 240), archs=BOTH),
    _image(ETL, "4.3.0", _SPARK, (188, 243), archs=BOTH),
    _image(EVALS, "2026.01", _TORCH, (412, 1105)),
    _image(NOTEBOOK, "cuda12-2025-12-01", _TORCH, (960, 2870), archs=("amd64",)),
    _image(GATEWAY, "7.12.0", _STATIC, (18.4, 52.1), archs=BOTH),
    _image(GATEWAY, "7.13.2", _STATIC, (18.6, 52.9), archs=BOTH),
    _image(CHAT_UI, "3.8.1", _ALPINE, (9.9, 26.0), (14.2, 41.5), archs=BOTH),
    _image(BILLING, "1.22.0", _PYTHON, (64, 171), archs=BOTH),
    _image(PLUGINS, "0.9.4", _PYTHON, (310, 905)),
    _image(ENVOY, "v1.31.2", _UBUNTU, (38.7, 128.0), archs=BOTH),
    _image(OTEL, "0.112.0", _STATIC, (72.0, 289.0), archs=BOTH, dialect="docker"),
    _image(SQL_PROXY, "2.13.0", _STATIC, (11.9, 33.2), archs=BOTH, dialect="docker"),
    _image(CLOUD_SDK, "502.0.0-slim", _DEBIAN, (168, 611), archs=BOTH, dialect="docker"),
    _image(REDIS, "7.4.1-alpine", _ALPINE, (13.0, 34.5), archs=BOTH),
    _image(KUBE_PROXY, "v1.32.9-gke.1130000", _STATIC, (27.1, 88.0)),
    _image(KUBE_DNS, "1.23.0-gke.9", _STATIC, (12.8, 32.0), archs=BOTH),
    _image(FLUENT_BIT, "v1.9.10-gke.8", _DEBIAN, (33.0, 94.0), archs=BOTH),
    _image(METRICS_AGENT, "1.14.2-gke.0", _STATIC, (24.2, 71.0), archs=BOTH),
    _image(PD_CSI, "v1.15.4-gke.0", _DEBIAN, (29.4, 83.0), archs=BOTH),
    _image(METRICS_SERVER, "v0.7.2-gke.3", _STATIC, (18.9, 64.0), archs=BOTH),
    # Small enough to have real bytes, so that something can be pulled whole.
    ImageSpec(PAUSE, "3.10", (LayerSpec("pause-3.10", real=31_800),), BOTH),
    ImageSpec(BUSYBOX, "1.37.0", (LayerSpec("busybox-1.37.0", real=49_000),), BOTH),
)
"""What is in the registries to begin with."""

NEW_PROD: tuple[ImageSpec, ...] = (_as_tag(_VLLM_066, "prod"),)
"""What moves the `prod` tag on."""

PASSWORD = ("sandbox", "sandbox")
"""User and password of the private registry. Not a secret: it opens nothing but the sandbox."""


def stock(catalog: Catalog) -> None:
    """Offer the whole shelf."""
    for image in SHELF:
        catalog.offer(image)
