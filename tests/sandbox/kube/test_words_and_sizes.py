"""The small languages: quantities, durations, the kubelet's words, selectors, patches, protobuf."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.pulls import parse_pulled
from kubectl_imagecache.sandbox.kube import protobuf, words
from kubectl_imagecache.sandbox.kube.ages import human_duration
from kubectl_imagecache.sandbox.kube.patches import json_patch, merge_patch, strategic_patch
from kubectl_imagecache.sandbox.kube.quantities import milli, pod_requests
from kubectl_imagecache.sandbox.kube.selectors import label_selector, parse_labels
from kubectl_imagecache.sandbox.kube.status import ApiError


@pytest.mark.parametrize(
    ("text", "thousandths"),
    [
        ("500m", 500),
        ("2", 2000),
        (4, 4000),
        ("1.5", 1500),
        ("1Ki", 1_024_000),
        ("13Gi", 13 * 2**30 * 1000),
        ("1e3", 10**6),
    ],
)
def test_quantities(text: object, thousandths: int) -> None:
    assert milli(text) == thousandths


def test_a_word_is_no_quantity() -> None:
    with pytest.raises(ValueError, match="not a quantity: 'much'"):
        milli("much")


def test_a_pod_asks_for_its_containers_or_its_greediest_init_container() -> None:
    def container(cpu: str, **more: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    inits = [container("3"), container("1"), container("250m", restartPolicy="Always")]
    assert pod_requests({"containers": [container("1"), container("500m")], "initContainers": inits}) == (
        ("cpu", 3000),
    )
    assert pod_requests({"containers": [container("3")], "initContainers": inits}) == (("cpu", 3250),)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.85, "850ms"),
        (4.879, "4.879s"),
        (43.2, "43.2s"),
        (62.3, "1m2.3s"),
        (3600, "1h0m0s"),
        (3725.5, "1h2m5.5s"),
    ],
)
def test_durations_are_gos(seconds: float, text: str) -> None:
    assert words.go_duration(seconds) == text


@given(
    st.floats(0.001, 7200),
    st.floats(0, 3600),
    st.integers(0, 10**12),
    st.sampled_from([24, 25, 26, 27, 29, 30, 33, 35, 36]),
)
def test_our_reader_understands_every_kubelet_we_play(seconds: float, queue: float, size: int, version: int) -> None:
    found = parse_pulled(words.pulled("r.example/a/b:1", seconds, seconds + queue, size, version, "main"))
    assert found is not None
    assert found.image == "r.example/a/b:1"
    assert found.seconds == pytest.approx(seconds, abs=0.0011)
    assert found.size == (size if version >= 30 else None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (45, "45s"),
        (119, "119s"),
        (120, "2m"),
        (330, "5m30s"),
        (7200, "120m"),
        (11520, "3h12m"),
        (187200, "2d4h"),
        (864000, "10d"),
    ],
)
def test_ages_are_written_as_kubectl_writes_them(seconds: int, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("selector", "yes"),
    [
        ("a=1", True),
        ("a==1,b!=3", True),
        ("a in (1, 2),b notin (1)", True),
        ("a,!c", True),
        ("b>1,b<3", True),
        ("c", False),
        ("a notin (1)", False),
        ("", True),
    ],
)
def test_label_selectors(selector: str, yes: bool) -> None:
    assert all(test({"a": "1", "b": "2"}) for test in parse_labels(selector)) is yes


@pytest.mark.parametrize("selector", ["a===b", "a in 1", "=", "a b"])
def test_nonsense_is_no_selector(selector: str) -> None:
    with pytest.raises(ApiError):
        parse_labels(selector)


def test_no_selector_object_selects_nothing_an_empty_one_all() -> None:
    assert (label_selector(None)({"a": "1"}), label_selector({})({"a": "1"})) == (False, True)


def test_strategic_patches_merge_lists_by_their_keys() -> None:
    target = {
        "containers": [
            {"name": "a", "image": "x:1", "env": [{"name": "E", "value": "1"}]},
            {"name": "b", "image": "y"},
        ],
        "tolerations": [{"key": "old"}],
        "finalizers": ["one", "two"],
    }
    patch = {
        "containers": [
            {"name": "a", "image": "x:2", "env": [{"name": "F", "value": "2"}]},
            {"name": "b", "$patch": "delete"},
            {"name": "c", "image": "z"},
        ],
        "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
        "tolerations": [{"key": "new"}],
        "$deleteFromPrimitiveList/finalizers": ["one"],
    }
    assert strategic_patch(target, patch) == {
        "containers": [
            {"name": "c", "image": "z"},
            {"name": "a", "image": "x:2", "env": [{"name": "E", "value": "1"}, {"name": "F", "value": "2"}]},
        ],
        "tolerations": [{"key": "new"}],
        "finalizers": ["two"],
    }


def test_strategic_patches_can_replace_and_retain() -> None:
    target = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, "selector": {"a": "1"}}
    patch = {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}, "selector": {"$patch": "replace", "b": "2"}}
    assert strategic_patch(target, patch) == {"strategy": {"type": "Recreate"}, "selector": {"b": "2"}}


def test_merge_patches_replace_lists_and_remove_nulls() -> None:
    assert merge_patch({"a": [1, 2], "b": {"c": 1, "d": 2}}, {"a": [3], "b": {"c": None}}) == {"a": [3], "b": {"d": 2}}


def test_json_patches_do_all_six_operations() -> None:
    operations: list[dict[str, Any]] = [
        {"op": "test", "path": "/a", "value": 1},
        {"op": "add", "path": "/list/-", "value": 3},
        {"op": "replace", "path": "/a", "value": 2},
        {"op": "copy", "from": "/a", "path": "/b"},
        {"op": "move", "from": "/list/0", "path": "/c"},
        {"op": "remove", "path": "/list/0"},
    ]
    target = {"a": 1, "list": [1, 2]}
    assert json_patch(target, operations) == {"a": 2, "b": 2, "c": 1, "list": [3]}
    assert target == {"a": 1, "list": [1, 2]}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/none"},
        {"op": "add", "path": "/list/9", "value": 1},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "dance", "path": "/a"},
        {"path": "/a"},
        {"op": "add", "path": "a", "value": 1},
    ],
)
def test_impossible_json_patches_are_refused(operation: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        json_patch({"a": 1, "list": []}, [operation])
    assert refused.value.status["code"] == 422


# `kubectl create configmap x --from-literal=a=b` of kubectl 1.32, as it came over the wire.
CONFIG_MAP = (
    b'k8s\x00\n\x0f\n\x02v1\x12\tConfigMap\x12\x1b\n\x11\n\x01x\x12\x00\x1a\x00"\x00*\x002\x008\x00B\x00'
    b'\x12\x06\n\x01a\x12\x01b\x1a\x00"\x00'
)


def test_protobuf_of_kubectl_is_decoded() -> None:
    assert protobuf.decode(CONFIG_MAP) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x"},
        "data": {"a": "b"},
    }


@given(st.binary(max_size=80))
def test_any_bytes_are_an_object_or_a_refusal(data: bytes) -> None:
    for body in (data, protobuf.MAGIC + data, CONFIG_MAP[:40] + data):
        try:
            assert isinstance(protobuf.decode(body), dict)
        except ApiError as refused:
            assert refused.status["code"] in (400, 415)
