"""The registry client against the real docker-registry, filled and judged by the real skopeo."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubectl_imagecache.clients.registry import Registry
from kubectl_imagecache.core.errors import NotFound, Unauthenticated
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.sandbox.catalog import Catalog, ImageSpec, LayerSpec
from kubectl_imagecache.sandbox.http import Request, Response, World
from kubectl_imagecache.sandbox.registry import Registry as SandboxRegistry
from tests.clients.factories import home_env, served

HTPASSWD = "me:$2b$04$.vMHYYPWlvfcq7pBj7Nm5ObwBRE48jIhf.PmUDaJyepjKYf2PYhT6\n"
"""bcrypt of s3cret."""
MULTI = ImageSpec(
    "h.example/team/app", "v1", (LayerSpec("base", real=5000), LayerSpec("app", real=100)), ("amd64", "arm64")
)
SINGLE = ImageSpec("h.example/team/one", "v1", (LayerSpec("base", real=5000),), dialect="docker")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def docker_registry(folder: Path, private: bool) -> Iterator[str]:
    """A running docker-registry; gives its `HOST:PORT`."""
    host = f"127.0.0.1:{free_port()}"
    lines = [
        "version: 0.1",
        "log: {level: error, accesslog: {disabled: true}}",
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}",
        f"http: {{addr: {host}}}",
    ]
    if private:
        (folder / "htpasswd").write_text(HTPASSWD, encoding="utf-8")
        lines.append(f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}")
    (folder / "registry.yml").write_text("\n".join(lines), encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "registry.yml")], stdout=log, stderr=log)
    try:
        _await(host, process)
        yield host
    finally:
        process.terminate()
        process.wait()


def _await(host: str, process: subprocess.Popen[bytes]) -> None:
    name, _, port = host.partition(":")
    for _ in range(200):
        assert process.poll() is None, "docker-registry ended"
        try:
            socket.create_connection((name, int(port)), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("docker-registry does not listen")


@contextmanager
def filled(folder: Path, private: bool) -> Iterator[tuple[str, Catalog]]:
    """A docker-registry that skopeo has filled from a catalog."""
    catalog = Catalog()
    for spec in (MULTI, SINGLE):
        catalog.publish(spec)
    inner = SandboxRegistry(World(), catalog)

    def at_the_root(request: Request) -> Response:
        path = f"/h.example{request.path}"
        return inner.handle(Request(request.method, path, request.query, request.headers, request.body, request.host))

    with served(at_the_root) as source, docker_registry(folder, private) as host:
        options = ["--all", "--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests"]
        login = ["--dest-creds", "me:s3cret"] if private else []
        for name in ("team/app:v1", "team/one:v1"):
            origin, goal = f"docker://{source.url.removeprefix('http://')}/{name}", f"docker://{host}/{name}"
            subprocess.run(["skopeo", "copy", "-q", *options, *login, origin, goal], check=True)
        yield host, catalog


def skopeo_inspect(host: str, name: str, arch: str, *more: str) -> dict[str, object]:
    command = ["skopeo", "--override-arch", arch, "inspect", "--tls-verify=false", *more, f"docker://{host}/{name}"]
    answer: dict[str, object] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer


@pytest.mark.parametrize(("name", "arch"), [("team/app", "amd64"), ("team/app", "arm64"), ("team/one", "amd64")])
def test_facts_are_the_catalogs_and_skopeos(tmp_path: Path, name: str, arch: str) -> None:
    with filled(tmp_path, private=False) as (host, catalog):
        registry = Registry.from_env(home_env(tmp_path))
        facts = registry.facts(parse(f"{host}/{name}:v1"), f"linux/{arch}")
        judged = skopeo_inspect(host, f"{name}:v1", arch)
        with pytest.raises(NotFound, match="is not in the registry"):
            registry.facts(parse(f"{host}/{name}:v2"), f"linux/{arch}")
    expected = catalog.facts(f"h.example/{name}:v1", arch)
    assert facts.digests == expected.digests
    assert [(layer.chain_id, layer.compressed) for layer in facts.layers] == [
        (layer.chain_id, layer.compressed) for layer in expected.layers
    ]
    assert judged["Digest"] in facts.digests


def test_a_private_registry_opens_with_dockers_login(tmp_path: Path) -> None:
    with filled(tmp_path, private=True) as (host, _):
        env = home_env(tmp_path)
        ref = parse(f"{host}/team/one:v1")
        with pytest.raises(Unauthenticated, match="wants a user and a password"):
            Registry.from_env(env).facts(ref, "linux/amd64")
        (tmp_path / ".docker").mkdir()
        for secret, opens in (("wrong", False), ("s3cret", True)):
            entry = {"auth": base64.b64encode(f"me:{secret}".encode()).decode()}
            (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {host: entry}}), encoding="utf-8")
            if opens:
                assert len(Registry.from_env(env).facts(ref, "linux/amd64").layers) == 1
            else:
                with pytest.raises(Unauthenticated, match="denies access to team/one"):
                    Registry.from_env(env).facts(ref, "linux/amd64")
