"""Label and field selectors: parsed once, asked often."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from kubectl_imagecache.sandbox.kube.kinds import Obj
from kubectl_imagecache.sandbox.kube.status import ApiError

LabelTest = Callable[[Mapping[str, str]], bool]

_SET = re.compile(r"^\s*(?P<key>[^\s!=()]+)\s+(?P<op>in|notin)\s+\((?P<values>[^)]*)\)\s*$")
_ORDER = re.compile(r"^\s*(?P<key>[^\s!=()<>]+)\s*(?P<op>==|=|!=|<|>)\s*(?P<value>[^\s()=!<>]*)\s*$")
_EXISTS = re.compile(r"^\s*(?P<no>!?)\s*(?P<key>[^\s!=()<>,]+)\s*$")


def parse_labels(text: str) -> list[LabelTest]:
    """Tests that all must hold, from `a=b,c in (d,e),!f,g>1`; raise ApiError 400."""
    return [_label_test(term) for term in re.split(r",(?![^(]*\))", text) if term.strip()]


def _label_test(term: str) -> LabelTest:
    if found := _SET.match(term):
        values = [value.strip() for value in found["values"].split(",")]
        return requirement(found["key"], "In" if found["op"] == "in" else "NotIn", values)
    if found := _ORDER.match(term):
        operator = {"=": "In", "==": "In", "!=": "NotIn", "<": "Lt", ">": "Gt"}[found["op"]]
        return requirement(found["key"], operator, [found["value"]])
    if found := _EXISTS.match(term):
        return requirement(found["key"], "DoesNotExist" if found["no"] else "Exists", [])
    raise ApiError(400, f"unable to parse requirement: found '{term.strip()}', expected: a label selector")


def requirement(key: str, operator: str, values: list[str]) -> LabelTest:
    """One requirement of a label, node or node-affinity selector as a test."""
    if operator == "In":
        return lambda labels: key in labels and labels[key] in values
    if operator == "NotIn":
        return lambda labels: key not in labels or labels[key] not in values
    if operator == "Exists":
        return lambda labels: key in labels
    if operator == "DoesNotExist":
        return lambda labels: key not in labels
    if operator in ("Gt", "Lt"):
        return lambda labels: _compare(labels.get(key), operator, values)
    raise ApiError(400, f'"{operator}" is not a valid label selector operator')


def _compare(value: str | None, operator: str, values: list[str]) -> bool:
    try:
        left, right = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return left > right if operator == "Gt" else left < right


def label_selector(selector: Obj | None) -> LabelTest:
    """A metav1.LabelSelector as a test; None selects nothing, an empty one everything."""
    if selector is None:
        return lambda labels: False
    tests = [requirement(key, "In", [value]) for key, value in (selector.get("matchLabels") or {}).items()]
    tests += [
        requirement(e["key"], e["operator"], list(e.get("values") or ()))
        for e in selector.get("matchExpressions") or ()
    ]
    return lambda labels: all(test(labels) for test in tests)


FieldTest = tuple[str, bool, str]
"""Path, whether it must be equal, value."""

_COMMON = ("metadata.name", "metadata.namespace")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "Pod": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "Node": ("spec.unschedulable",),
    "Namespace": ("status.phase",),
    "Job": ("status.successful",),
    "Secret": ("type",),
    "ReplicaSet": ("status.replicas",),
    "Event": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "reason",
        "reportingComponent",
        "reportingController",
        "source",
        "type",
    ),
}


def parse_fields(text: str, kind: str) -> list[FieldTest]:
    """Tests from `a.b=c,d!=e`; raise ApiError 400 for a field that KIND can't be selected by."""
    tests: list[FieldTest] = []
    for term in text.split(","):
        if not term.strip():
            continue
        found = re.match(r"^\s*([^!=\s]+)\s*(==|=|!=)\s*(.*?)\s*$", term)
        if found is None:
            raise ApiError(400, f"invalid field selector: {term!r}: can't understand '{term}'")
        path = found[1].replace("regarding.", "involvedObject.")
        if path not in _COMMON + _FIELDS.get(kind, ()):
            raise ApiError(400, f"field label not supported: {found[1]}")
        tests.append((path, found[2] != "!=", found[3]))
    return tests


def field_value(obj: Obj, path: str) -> str:
    """The value a field selector compares with."""
    if path == "source":
        return str(obj.get("source", {}).get("component", "") or obj.get("reportingComponent", ""))
    if path == "reportingController":
        path = "reportingComponent"
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "false" if path in ("spec.unschedulable", "spec.hostNetwork") else ""
    return str(value)
