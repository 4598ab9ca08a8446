"""The registry credentials that docker's configuration knows: in the file, or through a credential helper."""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubectl_imagecache.core.errors import BadUsage

HELPER_TIMEOUT_S = 30
DOCKER_HUB = "https://index.docker.io/v1/"
"""Under which docker keeps what it knows about docker.io."""
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Login:
    """What proves to a registry who we are: one of the three."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """An OAuth 2 refresh token."""
    registry_token: str = field(default="", repr=False)
    """A Bearer token, ready for use."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for a registry."""

    login: Login | None
    note: str = ""
    """Why there might have been one, such as a helper that is not installed; empty if there is nothing to say."""


class DockerConfig:
    """The file config.json, read when first needed."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """ENV: DOCKER_CONFIG, HOME, and PATH for the helpers."""
        self._env = dict(env)
        self._data: Mapping[str, Any] | None = None

    @property
    def path(self) -> Path:
        """The file, whether it exists or not."""
        folder = self._env.get("DOCKER_CONFIG")
        return (
            Path(folder) / "config.json"
            if folder
            else Path(self._env.get("HOME") or Path.home()) / ".docker/config.json"
        )

    def login(self, host: str) -> Found:
        """What is known for registry HOST (`docker.io`, `localhost:5000`), the helper's word first.

        Raises BadUsage for a file that is broken, with its line.
        """
        data = self._read()
        helper = _object(data.get("credHelpers")).get(host) or data.get("credsStore")
        note = ""
        if isinstance(helper, str) and helper:
            found = self._ask(helper, host)
            if found.login is not None:
                return found
            note = found.note
        for key, entry in _object(data.get("auths")).items():
            if _host(key) == host and (login := _login(entry)) is not None:
                return Found(login)
        return Found(None, note)

    def _read(self) -> Mapping[str, Any]:
        if self._data is None:
            try:
                data = json.loads(self.path.read_text(encoding="utf-8"))
            except (FileNotFoundError, NotADirectoryError):
                data = {}
            except json.JSONDecodeError as error:
                raise BadUsage(f"{self.path}, line {error.lineno}: broken JSON") from error
            except (OSError, UnicodeDecodeError, RecursionError) as error:
                raise BadUsage(f"{self.path} can't be read") from error
            if not isinstance(data, dict):
                raise BadUsage(f"{self.path}, line 1: not a JSON object")
            self._data = data
        return self._data

    def _ask(self, helper: str, host: str) -> Found:
        name = f"docker-credential-{helper}"
        program = shutil.which(name, path=self._env.get("PATH")) if _HELPER.fullmatch(helper) else None
        if program is None:
            return Found(None, f"docker's configuration names {name}, which is not installed")
        server = DOCKER_HUB if host == "docker.io" else host
        try:
            done = subprocess.run(
                [program, "get"],
                input=server.encode(),
                env=self._env,
                capture_output=True,
                timeout=HELPER_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return Found(None, f"{name} did not answer")
        if done.returncode != 0:
            # Helpers say "credentials not found in native keychain" and exit 1; their words may hold secrets otherwise.
            missing = b"credentials not found" in done.stdout.lower() + done.stderr.lower()
            return Found(None, "" if missing else f"{name} failed with exit code {done.returncode}")
        try:
            answer = _object(json.loads(done.stdout))
        except (ValueError, RecursionError):
            return Found(None, f"{name} answers with something that is not JSON")
        user, secret = answer.get("Username"), answer.get("Secret")
        if not isinstance(user, str) or not isinstance(secret, str) or not secret:
            return Found(None, f"{name} gives no user and secret")
        if user == "<token>":
            return Found(Login(identity_token=secret))
        return Found(Login(user, secret))


def _login(entry: object) -> Login | None:
    """One of `auths`; None if it holds nothing (a helper's place holder)."""
    fields = {key: value for key, value in _object(entry).items() if isinstance(value, str)}
    if token := fields.get("registrytoken"):
        return Login(registry_token=token)
    if token := fields.get("identitytoken"):
        return Login(identity_token=token)
    try:
        user, _, password = base64.b64decode(fields.get("auth", ""), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        user, password = "", ""
    user, password = user or fields.get("username", ""), password.rstrip("\0") or fields.get("password", "")
    return Login(user, password) if user and password else None


def _host(key: str) -> str:
    """The registry that a key of `auths` means: a host, or an old-style URL."""
    host = key.partition("://")[2] or key
    host = host.partition("/")[0].lower()
    return "docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
