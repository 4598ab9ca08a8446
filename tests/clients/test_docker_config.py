from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from kubectl_imagecache.clients.docker_config import DockerConfig, Found, Login
from kubectl_imagecache.core.errors import BadUsage
from tests.clients.factories import home_env, program


def docker(tmp_path: Path, config: Any) -> DockerConfig:
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    return DockerConfig(home_env(tmp_path, DOCKER_CONFIG=str(folder)))


def basic(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_no_file_knows_nothing(tmp_path: Path) -> None:
    assert DockerConfig(home_env(tmp_path)).login("quay.io") == Found(None)


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("quay.io", "quay.io"),
        ("https://quay.io", "quay.io"),
        ("https://quay.io/v2/", "quay.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_every_spelling_of_a_key_means_its_host(tmp_path: Path, key: str, host: str) -> None:
    config = docker(tmp_path, {"auths": {key: basic("me", "p:w")}})
    assert config.login(host) == Found(Login("me", "p:w"))
    assert config.login("other.example") == Found(None)


@pytest.mark.parametrize(
    ("entry", "login"),
    [
        ({"username": "u", "password": "p"}, Login("u", "p")),
        ({"identitytoken": "it", **basic("u", "")}, Login(identity_token="it")),
        ({"registrytoken": "rt"}, Login(registry_token="rt")),
        ({}, None),
        (None, None),
        ({"auth": "%%%"}, None),
        ({"auth": 5}, None),
        (basic("u", ""), None),
    ],
)
def test_an_entry_is_a_password_a_token_or_nothing(tmp_path: Path, entry: Any, login: Login | None) -> None:
    assert docker(tmp_path, {"auths": {"quay.io": entry}}).login("quay.io") == Found(login)


ECHO = 'read server; echo "$1 $server" >> "$HOME/asked"; echo "{\\"Username\\": \\"u\\", \\"Secret\\": \\"s3cret\\"}"'


def test_a_hosts_helper_is_asked_before_the_store_and_the_file(tmp_path: Path) -> None:
    program(tmp_path / "bin", "docker-credential-one", ECHO)
    config = docker(
        tmp_path,
        {"credHelpers": {"quay.io": "one"}, "credsStore": "other", "auths": {"quay.io": basic("file", "file")}},
    )
    assert config.login("quay.io") == Found(Login("u", "s3cret"))
    assert (tmp_path / "asked").read_text() == "get quay.io\n"


def test_the_store_is_asked_for_docker_hub_by_its_old_url(tmp_path: Path) -> None:
    program(tmp_path / "bin", "docker-credential-all", ECHO)
    assert docker(tmp_path, {"credsStore": "all"}).login("docker.io") == Found(Login("u", "s3cret"))
    assert (tmp_path / "asked").read_text() == "get https://index.docker.io/v1/\n"


def test_a_helpers_identity_token_is_one(tmp_path: Path) -> None:
    program(tmp_path / "bin", "docker-credential-t", """echo '{"Username": "<token>", "Secret": "refresh"}'""")
    assert docker(tmp_path, {"credsStore": "t"}).login("quay.io") == Found(Login(identity_token="refresh"))


@pytest.mark.parametrize(
    ("script", "note"),
    [
        ("echo 'credentials not found in native keychain'; exit 1", ""),
        ("echo s3cret; exit 3", "docker-credential-h failed with exit code 3"),
        ("echo s3cret", "docker-credential-h answers with something that is not JSON"),
        ("""echo '{"Username": 1}'""", "docker-credential-h gives no user and secret"),
        ("echo '[]'", "docker-credential-h gives no user and secret"),
    ],
)
def test_a_helper_that_fails_leaves_a_note_and_the_file(tmp_path: Path, script: str, note: str) -> None:
    program(tmp_path / "bin", "docker-credential-h", script)
    config = docker(tmp_path, {"credsStore": "h", "auths": {"ghcr.io": basic("u", "p")}})
    assert config.login("quay.io") == Found(None, note)
    assert config.login("ghcr.io") == Found(Login("u", "p"))


def test_a_helper_that_is_not_installed_is_named(tmp_path: Path) -> None:
    config = docker(tmp_path, {"credsStore": "desktop"})
    assert config.login("quay.io") == Found(
        None, "docker's configuration names docker-credential-desktop, which is not installed"
    )


@pytest.mark.parametrize("helper", ["../../evil", "x; touch $HOME/evil", "/bin/sh", "", " ", "$(id)"])
def test_a_helpers_name_is_never_a_path_or_a_command(tmp_path: Path, helper: str) -> None:
    program(tmp_path, "evil", "touch $HOME/evil-ran")
    assert docker(tmp_path, {"credHelpers": {"quay.io": helper}}).login("quay.io").login is None
    assert not (tmp_path / "evil-ran").exists()


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    config = docker(tmp_path, '{\n "auths": {\n  oops')
    with pytest.raises(BadUsage) as caught:
        config.login("quay.io")
    assert caught.value.message == f"{config.path}, line 3: broken JSON"


@pytest.mark.parametrize("document", [[], "x", {"auths": []}, {"credHelpers": 1, "credsStore": {}, "auths": {"a": []}}])
def test_odd_shapes_are_nothing_or_refused(tmp_path: Path, document: Any) -> None:
    config = docker(tmp_path, json.dumps(document))
    if isinstance(document, dict):
        assert config.login("quay.io") == Found(None)
    else:
        with pytest.raises(BadUsage, match="not a JSON object"):
            config.login("quay.io")


def test_a_login_shows_no_secret() -> None:
    shown = repr(Login("user", "s3cret-a", "s3cret-b", "s3cret-c"))
    assert "user" in shown
    assert "s3cret" not in shown
