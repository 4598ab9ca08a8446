"""What container registries say about images: digests, layers, sizes (OCI distribution and image specifications)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from kubectl_imagecache.clients import google_auth
from kubectl_imagecache.clients.docker_config import DockerConfig
from kubectl_imagecache.clients.facts_cache import FactsCache
from kubectl_imagecache.clients.google_auth import GoogleAuth
from kubectl_imagecache.clients.http import MIB, Answer, Http, host_of, is_loopback
from kubectl_imagecache.clients.registry_auth import GOOGLE_HOST, Place, RegistryAuth
from kubectl_imagecache.core.contents import ImageFacts, Layer
from kubectl_imagecache.core.errors import BadAnswer, BadUsage, NotFound, NotPermitted, Unauthenticated, UserError
from kubectl_imagecache.core.references import ImageRef

MAX_MANIFEST = 4 * MIB
"""Bytes; the distribution specification asks registries for as much, and clients for no more."""
MAX_CONFIG = 8 * MIB
MAX_LAYERS = 500
SIDE_BY_SIDE = 8
MIRRORS = "KUBECTL_IMAGECACHE_REGISTRY_MIRRORS"
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_DIGEST = re.compile(r"(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})")
_ACCEPT = {"Accept": ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))}
_T = TypeVar("_T")


class _Platform(msgspec.Struct):
    os: str | None = None
    architecture: str | None = None
    variant: str | None = None


class _Descriptor(msgspec.Struct, rename="camel"):
    digest: str
    size: int
    media_type: str | None = None
    platform: _Platform | None = None


class _Manifest(msgspec.Struct, rename="camel"):
    """An index or a manifest; which one, the fields tell."""

    schema_version: int | None = None
    media_type: str | None = None
    manifests: list[_Descriptor] | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None


class _RootFs(msgspec.Struct):
    diff_ids: list[str] | None = None


class _Config(msgspec.Struct):
    os: str | None = None
    architecture: str | None = None
    variant: str | None = None
    rootfs: _RootFs | None = None


class _Error(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class _Errors(msgspec.Struct):
    errors: list[_Error] | None = None


# msgspec (0.22) crashes if threads are the first to use a type at the same time: each type is prepared here, by one.
for _kind in (_Manifest, _Config, _Errors):
    msgspec.json.Decoder(_kind)


class Registry:
    """Reads images' descriptions, never their layers."""

    def __init__(
        self, http: Http, auth: RegistryAuth, mirrors: Mapping[str, str] | None = None, cache: FactsCache | None = None
    ) -> None:
        """MIRRORS: host to the base URL where it is reached; `*` to one under which every host is `/HOST`.

        Registries on this machine are never mirrored by `*`: a sandbox's user may have real ones.
        """
        self._http, self._auth, self._mirrors, self._cache = http, auth, mirrors or {}, cache

    @classmethod
    def from_env(cls, env: Mapping[str, str], http: Http | None = None, google: GoogleAuth | None = None) -> Registry:
        """As ENV says: mirrors, docker's configuration, the cache's place and, without GOOGLE, Google's credentials.

        Raises BadUsage for a malformed list of mirrors.
        """
        http = http or Http(env=env)
        auth = RegistryAuth(http, DockerConfig(env), google or google_auth.from_env(env, http))
        return cls(http, auth, mirrors_of(env.get(MIRRORS, "")), FactsCache.from_env(env))

    @classmethod
    def anonymous(cls, env: Mapping[str, str], http: Http | None = None) -> Registry:
        """A reader without any credentials, and without the cache: it tells what anybody may read."""
        http = http or Http(env=env)
        nobody = DockerConfig({"DOCKER_CONFIG": os.devnull})
        return cls(http, RegistryAuth(http, nobody, None), mirrors_of(env.get(MIRRORS, "")))

    def has(self, ref: ImageRef, digest: str) -> None:
        """Ask for the manifest DIGEST of REF's repository, without reading it (HEAD is not a pull).

        Raises as `digest` does.
        """
        self._get(ref, f"manifests/{digest}", _ACCEPT, MAX_MANIFEST, "HEAD")

    def digest(self, ref: ImageRef) -> str:
        """The digest that REF means now: its own, or the one its tag points at (asked with HEAD, which is not a pull).

        Raises NotFound, NotPermitted, Unauthenticated, Unavailable, BadAnswer.
        """
        if ref.digest:
            return ref.digest
        answer = self._get(ref, f"manifests/{ref.tag}", _ACCEPT, MAX_MANIFEST, "HEAD")
        digest = answer.headers.get("docker-content-digest", "")
        if _DIGEST.fullmatch(digest):
            return digest
        body = self._get(ref, f"manifests/{ref.tag}", _ACCEPT, MAX_MANIFEST).body
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def facts(self, ref: ImageRef, platform: str) -> ImageFacts:
        """What REF is on PLATFORM (`linux/amd64`): digests of index, manifest and config; layers with compressed sizes.

        Every body is checked against its digest. Raises NotFound (no such image, or not for PLATFORM), NotPermitted,
        Unauthenticated, Unavailable, BadAnswer.
        """
        asked = self.digest(ref)
        kept = self._cache.get(asked, platform) if self._cache else None
        if kept is not None:
            return kept
        digests = [asked]
        manifest = self._manifest(ref, asked)
        if manifest.manifests is not None:
            digests.append(_choose(manifest.manifests, platform, ref).digest)
            manifest = self._manifest(ref, digests[-1])
        if manifest.config is None or manifest.layers is None or len(manifest.layers) > MAX_LAYERS:
            raise BadAnswer(f"{ref} is not a container image with at most {MAX_LAYERS} layers")
        digests.append(manifest.config.digest)
        config = _decode(self._verified(ref, f"blobs/{digests[-1]}", digests[-1], {}, MAX_CONFIG), _Config, ref)
        actual = _platform_name(config.os, config.architecture, config.variant)
        if not _matches(config.os, config.architecture, config.variant, platform):
            raise NotFound(f"{ref} is not made for {platform}, only for {actual}")
        facts = ImageFacts(frozenset(digests), _layers(manifest.layers, config, ref), actual)
        if self._cache:
            self._cache.put(asked, platform, facts)
        return facts

    def facts_many(self, wanted: Iterable[tuple[ImageRef, str]]) -> dict[tuple[ImageRef, str], ImageFacts | UserError]:
        """`facts` of all pairs of reference and platform, side by side; what fails is returned, not raised."""

        return _side_by_side(self.facts, wanted)

    def pinned_many(
        self, wanted: Iterable[tuple[ImageRef, str]]
    ) -> dict[tuple[ImageRef, str], tuple[str, ImageFacts] | UserError]:
        """For each pair of reference and platform the digest that it means now, and the facts of that very digest.

        What fails is returned, not raised.
        """

        def pinned(ref: ImageRef, platform: str) -> tuple[str, ImageFacts]:
            digest = self.digest(ref)
            return digest, self.facts(ref.at(digest), platform)

        return _side_by_side(pinned, wanted)

    def _manifest(self, ref: ImageRef, digest: str) -> _Manifest:
        body = self._verified(ref, f"manifests/{digest}", digest, _ACCEPT, MAX_MANIFEST)
        manifest = _decode(body, _Manifest, ref)
        if manifest.schema_version == 1:
            raise BadAnswer(f"{ref} has a manifest of schema 1, which containerd does not pull", "push the image anew")
        return manifest

    def _verified(self, ref: ImageRef, path: str, digest: str, headers: Mapping[str, str], max_bytes: int) -> bytes:
        if not _DIGEST.fullmatch(digest):
            raise BadAnswer(f"{ref.registry} names a digest that can't be one: {digest[:80]!r}")
        body = self._get(ref, path, headers, max_bytes).body
        algorithm, _, expected = digest.partition(":")
        if hashlib.new(algorithm, body).hexdigest() != expected:
            raise BadAnswer(f"{ref.registry} sends something else than {digest} of {ref.repository}")
        return body

    def _get(self, ref: ImageRef, path: str, headers: Mapping[str, str], max_bytes: int, method: str = "GET") -> Answer:
        place = self._place(ref.registry.lower())
        url = f"{place.base}/v2/{ref.repository}/{path}"
        used = self._auth.header(place, ref.repository)
        answer = self._send(method, url, headers, used, max_bytes)
        # A challenge by a host that we were redirected to is not the registry's.
        if answer.status == 401 and answer.host == host_of(place.base):
            used = self._auth.answer(place, ref.repository, answer, used)
            answer = self._send(method, url, headers, used, max_bytes)
        if answer.status == 200:
            return answer
        raise self._refusal(answer, ref, place)

    def _send(self, method: str, url: str, headers: Mapping[str, str], used: str, max_bytes: int) -> Answer:
        sent = {**headers, "Authorization": used} if used else headers
        return self._http.send(method, url, sent, max_bytes=max_bytes, follow=True)

    def _place(self, host: str) -> Place:
        if host in self._mirrors:
            return Place(host, self._mirrors[host])
        local = is_loopback(f"//{host}")
        if "*" in self._mirrors and not local:
            return Place(host, f"{self._mirrors['*']}/{host}")
        if host == "docker.io":
            return Place(host, "https://registry-1.docker.io")
        scheme = "http" if local else "https"
        return Place(host, f"{scheme}://{host}")

    def _refusal(self, answer: Answer, ref: ImageRef, place: Place) -> UserError:
        said = _said(answer)
        if answer.status == 404:
            return NotFound(f"{ref} is not in the registry{said}")
        if answer.status == 403 and GOOGLE_HOST.fullmatch(place.host):
            permission = "artifactregistry.repositories.downloadArtifacts"
            return NotPermitted(permission, on=ref.name, role="roles/artifactregistry.reader")
        if answer.status in (401, 403):
            hint = self._auth.note(place) or f"run `docker login {ref.registry}`, or check the repository's name"
            return Unauthenticated(f"{ref.registry} denies access to {ref.repository}{said}", hint)
        return BadAnswer(f"{answer.host} answers {answer.status} for {ref}{said}")


def _side_by_side(
    ask: Callable[[ImageRef, str], _T], wanted: Iterable[tuple[ImageRef, str]]
) -> dict[tuple[ImageRef, str], _T | UserError]:
    def one(pair: tuple[ImageRef, str]) -> _T | UserError:
        try:
            return ask(*pair)
        except UserError as error:
            return error

    pairs = list(dict.fromkeys(wanted))
    with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="registry") as threads:
        return dict(zip(pairs, threads.map(one, pairs), strict=True))


def mirrors_of(text: str) -> dict[str, str]:
    """KUBECTL_IMAGECACHE_REGISTRY_MIRRORS, `HOST=URL,…`: host (or `*`) to base URL without a last slash.

    Raises BadUsage; plain http is for this machine only.
    """
    mirrors: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        host, equals, url = part.partition("=")
        if (
            not equals
            or not host
            or not (url.startswith("https://") or (url.startswith("http://") and is_loopback(url)))
        ):
            raise BadUsage(f"{MIRRORS} is malformed at {part!r}", "expected HOST=https://…, or http:// on this machine")
        mirrors[host.strip().lower()] = url.rstrip("/")
    return mirrors


def chain_ids(diff_ids: Iterable[str]) -> tuple[str, ...]:
    """The chain IDs of a stack of layers, from the base up (OCI image specification, config.md, Layer ChainID)."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(f"sha256:{hashlib.sha256(f'{chain[-1]} {diff_id}'.encode()).hexdigest()}" if chain else diff_id)
    return tuple(chain)


def _layers(layers: list[_Descriptor], config: _Config, ref: ImageRef) -> tuple[Layer, ...]:
    diff_ids = (config.rootfs.diff_ids if config.rootfs else None) or []
    if len(diff_ids) != len(layers) or not all(_DIGEST.fullmatch(diff_id) for diff_id in diff_ids):
        raise BadAnswer(f"{ref} is broken: its manifest has {len(layers)} layers, its config {len(diff_ids)}")
    if any(layer.size < 0 for layer in layers):
        raise BadAnswer(f"{ref} is broken: a layer has a negative size")
    return tuple(Layer(chain, layer.size) for chain, layer in zip(chain_ids(diff_ids), layers, strict=True))


def _choose(manifests: list[_Descriptor], platform: str, ref: ImageRef) -> _Descriptor:
    there: set[str] = set()
    for descriptor in manifests:
        found = descriptor.platform or _Platform()
        if _matches(found.os, found.architecture, found.variant, platform):
            return descriptor
        if found.os not in (None, "unknown"):  # attestations are listed under unknown/unknown
            there.add(_platform_name(found.os, found.architecture, found.variant))
    raise NotFound(f"{ref} is not made for {platform}, only for {', '.join(sorted(there)) or 'no platform'}")


def _matches(os: str | None, architecture: str | None, variant: str | None, platform: str) -> bool:
    wanted_os, _, rest = platform.partition("/")
    wanted_architecture, _, wanted_variant = rest.partition("/")
    return (os, architecture) == (wanted_os, wanted_architecture) and wanted_variant in ("", variant or wanted_variant)


def _platform_name(os: str | None, architecture: str | None, variant: str | None) -> str:
    # Every arm64 is v8: the variant tells nothing (containerd drops it too).
    shown = variant if variant and (architecture, variant) != ("arm64", "v8") else None
    return "/".join(part for part in (os or "unknown", architecture or "unknown", shown) if part)


def _decode(body: bytes, kind: type[_T], ref: ImageRef) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadAnswer(f"{ref.registry} describes {ref.repository} in a way that makes no sense: {error}") from error


def _said(answer: Answer) -> str:
    try:
        errors = msgspec.json.decode(answer.body, type=_Errors).errors or []
    except (msgspec.MsgspecError, RecursionError):
        return ""
    first = errors[0] if errors else _Error()
    lines = (first.message or first.code or "").splitlines()
    return f": {lines[0][:200]}" if lines else ""
