"""Plans as JSON documents (schemas/build-plan-v1.json), written and strictly read back."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeVar

from kubectl_imagecache.core.contents import Layer
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.plan import (
    AbsentImage,
    BuildPlan,
    Change,
    Output,
    PlannedImage,
    RegistryLogin,
    Vm,
    check_folder,
    check_labels,
    check_name,
)
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.prices import Prices, cost
from kubectl_imagecache.core.references import ImageRef, parse

API_VERSION = "imagecache/v1"
KIND = "BuildPlan"
MAX_BYTES = 32 * 1024 * 1024
_DIGEST = re.compile(r"sha256:(?:[0-9a-f]{64}|[0-9a-f]{32})|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_PATH = re.compile(r"[A-Za-z0-9._:/@-]*", re.ASCII)
_ARCHITECTURES = ("amd64", "arm64")
_KEYS = frozenset(
    {"apiVersion", "kind", "hash", "pool", "nodes", "arch", "diskSizeGb", "checksums", "rateBytesPerSecond"}
    | {"verifyBoot"}
    | {"images", "absent", "output", "vm", "registries", "prices", "summary"}
)


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


T = TypeVar("T", bound=_Dataclass)


def document_of(plan: BuildPlan) -> dict[str, Any]:
    """PLAN as `-o json` and --save-plan have it; what can be computed from the rest is under `summary`."""
    estimate = cost(
        plan.prices, compressed=plan.compressed, rate=plan.rate, disk_gb=plan.disk_size_gb, nodes=plan.nodes
    )
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "hash": plan.hash,
        "pool": plan.pool,
        "nodes": plan.nodes,
        "arch": plan.arch,
        "diskSizeGb": plan.disk_size_gb,
        "checksums": plan.checksums,
        "verifyBoot": plan.verify_boot,
        "rateBytesPerSecond": plan.rate,
        "images": [_image(image) for image in plan.images],
        "absent": [
            {"image": str(a.ref), "digest": a.digest, "change": a.change.value, "compressedBytes": a.compressed}
            | {"why": a.why}
            for a in plan.absent
        ],
        "output": {
            "diskImage": str(plan.output.ref),
            "family": plan.output.family,
            "labels": dict(plan.output.labels),
            "storageLocation": plan.output.storage_location,
            "contentsUrl": plan.output.contents_url,
        },
        "vm": {_camel(key): _plain(value) for key, value in dataclasses.asdict(plan.vm).items()},
        "registries": [dataclasses.asdict(login) for login in plan.registries],
        "prices": {_camel(key): value for key, value in dataclasses.asdict(plan.prices).items()},
        "summary": {
            "build": plan.build,
            "compressedBytes": plan.compressed,
            "secondsSavedPerColdStart": round(plan.seconds_saved, 1),
            "buildDollars": round(estimate.build, 4),
            "imageDollarsPerMonth": round(estimate.image_month, 4),
            "nodeDisksDollarsPerMonth": round(estimate.nodes_month, 4),
        },
    }


def to_json(plan: BuildPlan) -> str:
    """PLAN for a file."""
    return json.dumps(document_of(plan), indent=1) + "\n"


def from_json(text: str | bytes, source: str) -> BuildPlan:
    """Read a plan back; raise BadUsage, naming SOURCE, for what isn't exactly one or was changed by hand."""
    try:
        if len(text) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES // 2**20} MiB")
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("kind") != KIND:
            raise ValueError(f"its kind is not {KIND}")
        if document.get("apiVersion") != API_VERSION:
            raise ValueError(f"its apiVersion is not {API_VERSION}")
        plan = _plan(document)
    except KeyError as error:
        raise BadUsage(f"{source} is no build plan: it has no {error.args[0]}", "make one with --save-plan") from error
    except (ValueError, TypeError, AttributeError, RecursionError, BadUsage) as error:
        why = error.message if isinstance(error, BadUsage) else str(error)
        raise BadUsage(f"{source} is no build plan: {why[:200]}", "make one with --save-plan") from error
    if document["hash"] != plan.hash:
        raise BadUsage(f"{source} was changed: its hash is not that of its images", "make it again with --save-plan")
    return plan


def _image(image: PlannedImage) -> dict[str, Any]:
    return {
        "image": str(image.ref),
        "digest": image.digest,
        "change": image.change.value,
        "was": image.was,
        "coldStarts": image.cold_starts,
        "compressedBytes": image.compressed,
        "otherDigests": sorted(image.other_digests),
        "layers": [
            {"chainId": x.chain_id, "compressedBytes": x.compressed, "unpackedBytes": x.unpacked} for x in image.layers
        ],
    }


def _plan(document: Mapping[str, Any]) -> BuildPlan:
    if unknown := set(document) - set(_KEYS):
        raise ValueError(f"unknown fields {', '.join(sorted(unknown))[:100]}")
    images = tuple(_read_image(i) for i in _list(document["images"], 5000))
    if not images:
        raise ValueError("it has no images")
    if document["arch"] not in _ARCHITECTURES:
        raise ValueError(f"unknown architecture {document['arch']!r}")
    return BuildPlan(
        images,
        tuple(_read_absent(a) for a in _list(document["absent"], 5000)),
        document["arch"],
        _whole(document["diskSizeGb"], 65536, least=1),
        _read_output(document["output"]),
        _read(Vm, document["vm"]),
        _text(document["pool"]),
        _whole(document["nodes"], 1_000_000),
        tuple(_read(RegistryLogin, r) for r in _list(document["registries"], 1000)),
        _flag(document["checksums"]),
        _rate(document["rateBytesPerSecond"]),
        _read(Prices, document["prices"]),
        _flag(document["verifyBoot"]),
    )


def _read_image(data: Mapping[str, Any]) -> PlannedImage:
    layers = tuple(
        Layer(_digest(x["chainId"]), _size(x["compressedBytes"]), _size(x["unpackedBytes"]))
        for x in _list(data["layers"], 500)
    )
    digest = _digest(data["digest"])
    if len(digest) < len("sha256:") + 64:
        raise ValueError(f"{str(data['image'])[:80]} is not pinned to a whole digest")
    change = Change(data["change"])
    if change not in (Change.NEW, Change.KEPT, Change.MOVED):
        raise ValueError(f"{str(data['image'])[:80]} can't be on the disk and {change.value}")
    return PlannedImage(
        _ref(data["image"]),
        digest,
        change,
        _digest(data["was"]) if data["was"] else "",
        _whole(data["coldStarts"], 1_000_000),
        layers,
        frozenset(_digest(d) for d in _list(data["otherDigests"], 8)),
    )


def _read_absent(data: Mapping[str, Any]) -> AbsentImage:
    digest = _digest(data["digest"])
    return AbsentImage(
        _ref(data["image"]), digest, Change(data["change"]), _size(data["compressedBytes"]), _text(data["why"])
    )


def _read_output(data: Mapping[str, Any]) -> Output:
    project, _, name = _text(data["diskImage"]).removeprefix("projects/").partition("/global/images/")
    family = _text(data["family"])
    return Output(
        DiskImageRef(_path(project), check_name(name)),
        check_name(family, "family name") if family else "",
        check_labels({_text(k): _text(v) for k, v in data["labels"].items()}),
        _path(data["storageLocation"]),
        check_folder(_text(data["contentsUrl"])),
    )


def _read(kind: type[T], data: Mapping[str, Any]) -> T:
    """A flat dataclass of texts, numbers, flags and tuples of texts, field by field as its defaults are."""
    found: dict[str, Any] = {}
    fields = {_camel(f.name): f for f in dataclasses.fields(kind)}
    if set(data) != set(fields):
        odd = sorted(set(data) ^ set(fields))
        raise ValueError(f"fields missing or unknown: {', '.join(odd)[:100]}")
    for key, about in fields.items():
        value = data[key]
        if about.type == "bool":
            found[about.name] = _flag(value)
        elif about.type == "int":
            found[about.name] = _whole(value, 1 << 40, least=1)
        elif about.type == "float":
            found[about.name] = _number(value)
        elif about.type == "str":
            found[about.name] = _path(value)
        else:
            found[about.name] = tuple(_path(v) for v in _list(value, 64))
    return kind(**found)


def _ref(data: Any) -> ImageRef:
    return parse(_text(data))


def _text(data: Any) -> str:
    if not isinstance(data, str) or len(data) > 4096:
        raise ValueError(f"a short text was expected, not {str(data)[:60]!r}")
    return data


def _path(data: Any) -> str:
    if not _PATH.fullmatch(_text(data)):
        raise ValueError(f"{str(data)[:60]!r} has characters that no name has")
    return str(data)


def _digest(data: Any) -> str:
    if not isinstance(data, str) or not _DIGEST.fullmatch(data):
        raise ValueError(f"not a digest: {str(data)[:80]!r}")
    return data


def _list(data: Any, limit: int) -> list[Any]:
    if not isinstance(data, list) or len(data) > limit:
        raise ValueError(f"a list of at most {limit} was expected")
    return data


def _flag(data: Any) -> bool:
    if not isinstance(data, bool):
        raise ValueError(f"true or false was expected, not {str(data)[:60]!r}")
    return data


def _whole(data: Any, most: int, least: int = 0) -> int:
    if not isinstance(data, int) or isinstance(data, bool) or not least <= data <= most:
        raise ValueError(f"a number from {least} to {most} was expected, not {str(data)[:60]!r}")
    return data


def _number(data: Any) -> float:
    if not isinstance(data, int | float) or isinstance(data, bool) or not 0 <= data < 1e15:
        raise ValueError(f"a number was expected, not {str(data)[:60]!r}")
    return float(data)


def _rate(data: Any) -> float:
    rate = _number(data)
    if rate < 1:
        raise ValueError("a rate below 1 byte/s makes no sense")
    return rate


def _size(data: Any) -> int | None:
    return None if data is None else _whole(data, 1 << 50)


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
