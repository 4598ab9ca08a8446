from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from kubectl_imagecache.clients.kube.roll_wire import Pod, Workload, pins_of, pod_of
from kubectl_imagecache.core.roll import family


@pytest.mark.parametrize(
    ("kind", "spec", "down"),
    [
        ("Deployment", {}, 2),
        ("Deployment", {"strategy": {"rollingUpdate": {"maxUnavailable": 3}}}, 3),
        ("Deployment", {"strategy": {"rollingUpdate": {"maxUnavailable": "30%"}}}, 2),
        ("Deployment", {"strategy": {"type": "Recreate"}}, 9),
        ("StatefulSet", {}, 1),
        ("StatefulSet", {"updateStrategy": {"type": "OnDelete"}}, None),
        ("StatefulSet", {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "30%"}}}, 3),
        ("DaemonSet", {}, None),
    ],
)
def test_how_many_pods_a_new_template_takes_down_at_a_time(kind: str, spec: dict[str, Any], down: int | None) -> None:
    template = {"spec": {"nodeSelector": {"cloud.google.com/gke-nodepool": "web"}}}
    workload = {"metadata": {"name": "a", "namespace": "ns"}, "spec": {"replicas": 9, "template": template, **spec}}
    (pin,) = pins_of(msgspec.json.decode(json.dumps(workload), type=Workload), kind)
    assert (pin.down, pin.replicas) == (down, 9)


@pytest.mark.parametrize(
    ("kind", "owner", "labels", "of"),
    [
        ("ReplicaSet", "web-6f7", {"pod-template-hash": "6f7"}, "web"),
        ("ReplicaSet", "web-9c8", {"rollouts-pod-template-hash": "9c8"}, "web"),
        ("ReplicaSet", "plain", {}, "plain"),
        ("StatefulSet", "db", {"pod-template-hash": "db"}, "db"),
    ],
)
def test_a_pod_is_of_the_family_of_what_rolls_it_out(kind: str, owner: str, labels: dict[str, str], of: str) -> None:
    owners = [{"kind": kind, "name": owner, "uid": "u", "controller": True}]
    metadata = {"name": "a", "namespace": "ns", "labels": labels, "ownerReferences": owners, "finalizers": ["x/y"]}
    pod = pod_of(msgspec.json.decode(json.dumps({"metadata": metadata, "spec": {}}), type=Pod))
    assert pod.family == family("ns", kind, of)
    assert (pod.held_by, pod.grace_s) == (("x/y",), 30.0)
