"""The few protobuf bodies that kubectl's typed clients send, decoded by their published field numbers."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from kubectl_imagecache.sandbox.kube.kinds import Obj
from kubectl_imagecache.sandbox.kube.status import ApiError

MAGIC = b"k8s\x00"

Schema = dict[int, tuple[str, Any]]
"""Field number to JSON name and type: a scalar's name, `[x]` for repeated, `{x}` for a map from string."""

# generated.proto of k8s.io/apimachinery and k8s.io/api.
_OWNER: Schema = {1: ("kind", "str"), 3: ("name", "str"), 4: ("uid", "str"), 5: ("apiVersion", "str")}
_OWNER |= {6: ("controller", "bool"), 7: ("blockOwnerDeletion", "bool")}
_META: Schema = {
    1: ("name", "str"),
    2: ("generateName", "str"),
    3: ("namespace", "str"),
    5: ("uid", "str"),
    6: ("resourceVersion", "str"),
    11: ("labels", "{str}"),
    12: ("annotations", "{str}"),
    13: ("ownerReferences", [_OWNER]),
    14: ("finalizers", "[str]"),
}
_DELETE: Schema = {
    1: ("gracePeriodSeconds", "int"),
    2: ("preconditions", {1: ("uid", "str"), 2: ("resourceVersion", "str")}),
    3: ("orphanDependents", "bool"),
    4: ("propagationPolicy", "str"),
    5: ("dryRun", "[str]"),
}
_ATTRIBUTES: Schema = {
    1: ("namespace", "str"),
    2: ("verb", "str"),
    3: ("group", "str"),
    4: ("version", "str"),
    5: ("resource", "str"),
    6: ("subresource", "str"),
    7: ("name", "str"),
}
SCHEMAS: dict[str, Schema] = {
    "DeleteOptions": _DELETE,
    "Eviction": {1: ("metadata", _META), 2: ("deleteOptions", _DELETE)},
    "ConfigMap": {1: ("metadata", _META), 2: ("data", "{str}"), 3: ("binaryData", "{bytes}"), 4: ("immutable", "bool")},
    "Namespace": {1: ("metadata", _META)},
    "ServiceAccount": {1: ("metadata", _META)},
    "SelfSubjectAccessReview": {1: ("metadata", _META), 2: ("spec", {1: ("resourceAttributes", _ATTRIBUTES)})},
}


def decode(body: bytes) -> Obj:
    """The object in a `application/vnd.kubernetes.protobuf` body; raise ApiError 400 or 415."""
    if not body.startswith(MAGIC):
        raise ApiError(400, "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        envelope = _message(body[4:], {1: ("type", {1: ("apiVersion", "str"), 2: ("kind", "str")}), 2: ("raw", "raw")})
        kind = envelope["type"]
        schema = SCHEMAS.get(kind.get("kind", ""))
        if schema is None:
            raise ApiError(415, f"the sandbox reads no protobuf of kind {kind.get('kind')}; send JSON")
        return {**kind, **_message(envelope.get("raw", b""), schema)}
    except (IndexError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ApiError(400, f"unable to decode protobuf: {error}") from error


def _message(data: bytes, schema: Schema) -> Obj:
    out: Obj = {}
    for number, value in _fields(data):
        if number not in schema:
            continue
        name, kind = schema[number]
        if isinstance(kind, list):
            out.setdefault(name, []).append(_message(value, kind[0]))
        elif isinstance(kind, dict):
            out[name] = _message(value, kind)
        elif kind.startswith("["):
            out.setdefault(name, []).append(_scalar(value, kind[1:-1]))
        elif kind.startswith("{"):
            pair = dict(_fields(value))
            out.setdefault(name, {})[pair.get(1, b"").decode()] = _scalar(pair.get(2, b""), kind[1:-1])
        elif value != b"" or kind == "raw":
            # gogo's encoder writes empty strings for fields that were never set.
            out[name] = _scalar(value, kind)
    return out


def _scalar(value: Any, kind: str) -> Any:
    if kind == "str":
        return value.decode()
    if kind == "bool":
        return bool(value)
    if kind == "bytes":
        return base64.b64encode(value).decode()
    return value


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise IndexError("unexpected EOF")
            yield number, data[at : at + length]
            at += length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise IndexError(f"wire type {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
