"""What kubelets pull, how long that takes and what they say of it, in virtual time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_imagecache.core.contents import Layer
from kubectl_imagecache.sandbox.kube.images import ImageInfo
from kubectl_imagecache.sandbox.kube.node_cache import NodeCache
from tests.sandbox.kube.factories import (
    BASE,
    Registry,
    Running,
    messages,
    node,
    pod,
    running,
)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as started:
        yield started


def seconds_of(message: str) -> float:
    text = message.partition('" in ')[2].partition(" ")[0].rstrip(".")
    if text.endswith("ms"):
        return float(text[:-2]) / 1000
    minutes, _, rest = text.rpartition("m")
    return float(minutes or 0) * 60 + float(rest.rstrip("s"))


def pull_seconds(tmp_path: Path, cache: NodeCache) -> list[float]:
    """The times of the first pull of a 2 GB image and of a second node's."""
    registry = Registry({"docker.io/library/model:1": 1_970_000_000})
    with running(tmp_path, registry=registry) as served:
        for name in ("a", "b"):
            served.cluster.add_node(node(name), cache)
        for name in ("a", "b"):
            served.cluster.create(pod(f"p-{name}", "model:1", nodeName=name))
            served.advance(120)
        return [seconds_of(message) for message in messages(served, "Pulled")]


def test_a_registry_pull_takes_the_time_of_its_bytes(tmp_path: Path) -> None:
    first, later = pull_seconds(tmp_path, NodeCache())
    assert 50 < first < 60
    assert 40 < later < 47


def test_streaming_is_slow_once_and_then_immediate(tmp_path: Path) -> None:
    first, later = pull_seconds(tmp_path, NodeCache(streaming=True))
    assert 50 < first < 60
    assert later < 1


def test_a_cache_disk_is_immediate_from_the_first(tmp_path: Path) -> None:
    own = "sha256:own-docker.io/library/model:1-amd64"
    first, later = pull_seconds(tmp_path, NodeCache(frozenset({BASE.chain_id, own}), streaming=True))
    assert max(first, later) < 1


def test_cached_layers_shorten_a_pull(tmp_path: Path) -> None:
    first, _ = pull_seconds(tmp_path, NodeCache(frozenset({"sha256:own-docker.io/library/model:1-amd64"})))
    assert first < 2


def test_nodes_say_by_which_way_an_image_came(served: Running) -> None:
    own = "sha256:own-docker.io/library/nginx:1.27-amd64"
    served.cluster.add_node(node("disk"), NodeCache(frozenset({BASE.chain_id, own}), streaming=True))
    served.cluster.add_node(node("stream"), NodeCache(streaming=True))
    served.cluster.create(pod("a", nodeName="disk"))
    served.cluster.create(pod("b", nodeName="stream"))
    served.advance(60)
    image = "Image docker.io/library/nginx:1.27 is backed by"
    assert messages(served, "SecondaryDiskCachin") == [f"{image} secondary disk cache."]
    assert messages(served, "ImageStreaming") == [f"{image} image streaming."]


def test_an_image_on_the_node_is_not_pulled_again(served: Running) -> None:
    served.cluster.add_node(node("n"))
    served.cluster.create(pod("a"))
    served.advance(60)
    served.cluster.create(pod("b"))
    served.advance(10)
    assert messages(served, "Pulled")[1] == 'Container image "nginx:1.27" already present on machine'


def test_pulls_of_one_node_wait_for_each_other(served: Running) -> None:
    served.cluster.add_node(node("n"))
    served.cluster.create(pod("a", "one:1"))
    served.cluster.create(pod("b", "two:1"))
    served.advance(60)
    waits = [message.partition("(")[2].partition(" including")[0] for message in messages(served, "Pulled")]
    pulls = [seconds_of(message) for message in messages(served, "Pulled")]
    # They ask within a second of each other, so the later one waits for most of the earlier one's pull.
    assert max(float(wait.rstrip("s")) for wait in waits) > sum(pulls) - 1


@pytest.mark.parametrize(
    ("version", "pattern"),
    [
        ("v1.25.9-gke.1", r'^Successfully pulled image "nginx:1.27" in \d+\.\d{9}s$'),
        ("v1.28.9-gke.1", r'^Successfully pulled image "nginx:1.27" in \d+\.\d+s \(\d+\.\d+s including waiting\)$'),
        ("v1.31.2-gke.1", r"including waiting\)\. Image size: 200000000 bytes\.$"),
        ("v1.35.0-gke.1", r'^spec\.containers\{web\}: Successfully pulled image "nginx:1.27" in '),
    ],
)
def test_each_kubelet_speaks_its_own_version(served: Running, version: str, pattern: str) -> None:
    served.cluster.add_node(node("n", version=version))
    served.cluster.create(pod("p"))
    served.advance(60)
    assert re.search(pattern, messages(served, "Pulled")[0])


def test_layers_of_unknown_size_take_no_time(tmp_path: Path) -> None:
    assert ImageInfo("sha256:x", (Layer("sha256:a"), Layer("sha256:b", 5))).compressed == 5
