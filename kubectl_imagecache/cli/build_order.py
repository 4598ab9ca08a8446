"""From the flags of `rebuild` to what is ordered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kubectl_imagecache.cli.options import Flags
from kubectl_imagecache.cli.rebuild_options import BuildFlags
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.plan import RegistryLogin, Room, Vm, check_folder, check_labels, check_name
from kubectl_imagecache.core.prices import Prices, with_prices
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.core.wishes import Wishes, references
from kubectl_imagecache.usecases.plan import Order

MAX_BYTES = 8 * 1024 * 1024
_SECRET = "secret:"


def order_of(flags: Flags, build: BuildFlags, vm: Vm, wishes: Wishes, rate: float) -> Order:
    """Everything that the flags say; raises BadUsage."""
    largest = None if build.max_disk_size is None else build.max_disk_size // 2**30
    if build.family:
        check_name(build.family, "family name")
    return Order(
        wishes,
        vm,
        build.arch,
        Room(build.headroom, largest, build.disk_size_gb),
        check_name(build.image_name) if build.image_name else "",
        build.family,
        check_labels(dict(_pair(label, "--label") for text in build.labels for label in text.split(",") if label)),
        build.storage_location,
        check_folder(build.contents_url),
        _logins(build),
        build.pull_auth.lower() != "none",
        build.checksums,
        rate,
        with_prices(Prices(), build.prices),
    )


def wishes_of(build: BuildFlags) -> Wishes:
    """The images that flags and files name; raises BadUsage, naming the file."""
    named = [parse(text) for text in build.images]
    for path in build.files:
        named += [parse(text) for text in _listed(path)]
    for path in build.manifests:
        for file in sorted(path.glob("**/*.y*ml")) if path.is_dir() else [path]:
            named += [parse(text) for text in references(_documents(file), build.k8s_namespace)]
    return Wishes(tuple(dict.fromkeys(named)), build.keep, build.drop)


def _listed(path: Path) -> list[str]:
    documents = _documents(path)
    document = documents[0] if len(documents) == 1 else None
    images = document.get("images") if isinstance(document, dict) and set(document) == {"images"} else None
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise BadUsage(f"{path} is no list of images", "write `images:` and beneath it lines such as `- nginx:1.27`")
    return images


def _documents(path: Path) -> list[Any]:
    import yaml  # only where there is a file

    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > MAX_BYTES:
            raise BadUsage(f"{path} is longer than {MAX_BYTES // 2**20} MiB")
        return [document for document in yaml.safe_load_all(text) if document is not None]
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"{path} can't be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise BadUsage(
            f"{path}{f', line {mark.line + 1}' if mark else ''}: {getattr(error, 'problem', None) or 'not YAML'}"
        ) from error


def _logins(build: BuildFlags) -> tuple[RegistryLogin, ...]:
    logins: dict[str, RegistryLogin] = {}
    for host, how in _pairs(build.registry_auth, "--registry-auth"):
        source = how.removeprefix(_SECRET) if how.startswith(_SECRET) else ""
        if not source and how not in ("none", "google"):
            raise BadUsage(f"--registry-auth {host}: unknown way {how[:60]!r}", "none, google, or secret:projects/…")
        logins[host] = RegistryLogin(host, "secret" if source else how, source)
    for host, url in _pairs(build.registry_mirror, "--registry-mirror"):
        if not url.startswith("https://"):
            raise BadUsage(f"--registry-mirror {host}: {url[:80]!r} is not https://")
        logins[host] = replace(logins.get(host, RegistryLogin(host)), endpoint=url)
    return tuple(logins.values())


def _pairs(texts: Iterable[str], flag: str) -> list[tuple[str, str]]:
    return [_pair(text, flag) for text in texts]


def _pair(text: str, flag: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadUsage(f"{flag} {text[:80]!r} has no =", f"write {flag} NAME=VALUE")
    return key.strip(), value.strip()
