"""Exec credential plugins, run as client-go runs them.

The kubernetes package can run them too, but only logs what goes wrong and goes on without credentials, and importing
it costs 0.5 s of CPU. The protocol: https://kubernetes.io/docs/reference/access-authn-authz/authentication/
(section "client-go credential plugins").
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from kubectl_imagecache.clients.kube.kubeconfig import Choice
from kubectl_imagecache.clients.kube.wire import parse_time
from kubectl_imagecache.core.errors import Unauthenticated, UserError

_GKE_PLUGIN = "gke-gcloud-auth-plugin"
_GKE_INSTALL = (
    "gcloud components install gke-gcloud-auth-plugin (or the package google-cloud-cli-gke-gcloud-auth-plugin)"
)
_CLUSTER_FIELDS = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
_CONFIG_EXTENSION = "client.authentication.k8s.io/exec"


def run_plugin(choice: Choice) -> tuple[dict[str, str], datetime | None]:
    """Run the user's exec plugin; what it gives as a kubeconfig user's fields, and until when it is good.

    Raises Unauthenticated with the plugin's name and its last words, or with what to install; UserError if the
    kubeconfig's entry makes no sense.
    """
    plugin = choice.user["exec"]
    command = plugin.get("command") if isinstance(plugin, dict) else None
    if not isinstance(command, str) or not command:
        raise UserError(f"user {choice.user_name!r} has an exec plugin without a command")
    name = Path(command).name
    if shutil.which(command) is None:
        raise Unauthenticated(f"exec plugin {name} is not installed", _install_hint(plugin, name))
    # As in client-go, a plugin may talk to the user only where there is one.
    talks = sys.stdin is not None and sys.stdin.isatty() and plugin.get("interactiveMode") != "Never"
    try:
        done = subprocess.run(
            [command, *map(str, plugin.get("args") or ())],
            env=_environment(plugin, choice, talks),
            stdin=None if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if talks else subprocess.PIPE,
            check=False,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its arguments hold a null character"
        raise Unauthenticated(f"exec plugin {name} can't be run: {reason}", _hint(name)) from error
    if done.returncode:
        words = _last_line(done.stderr) or f"exit code {done.returncode}"
        raise Unauthenticated(f"exec plugin {name} failed: {words}", _hint(name))
    status = _status(done.stdout, plugin, name)
    until = status.get("expirationTimestamp")
    return _fields(status, name), parse_time(until) if isinstance(until, str) else None


def _environment(plugin: Mapping[str, Any], choice: Choice, talks: bool) -> dict[str, str]:
    spec: dict[str, Any] = {"interactive": talks}
    if plugin.get("provideClusterInfo") is True:
        spec["cluster"] = _cluster_info(choice.cluster)
    info = {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": spec}
    own = {
        str(entry["name"]): str(entry.get("value") or "")
        for entry in plugin.get("env") or ()
        if isinstance(entry, dict) and entry.get("name")
    }
    return {**os.environ, **own, "KUBERNETES_EXEC_INFO": json.dumps(info, default=str)}


def _cluster_info(cluster: Mapping[str, Any]) -> dict[str, Any]:
    info = {key: cluster[key] for key in _CLUSTER_FIELDS if cluster.get(key)}
    authority = cluster.get("certificate-authority")
    if authority and "certificate-authority-data" not in info:
        try:
            info["certificate-authority-data"] = base64.b64encode(Path(authority).read_bytes()).decode()
        except OSError as error:
            raise UserError(f"can't read the certificate authority {authority}: {error.strerror}") from error
    for extension in cluster.get("extensions") or ():
        if isinstance(extension, dict) and extension.get("name") == _CONFIG_EXTENSION:
            info["config"] = extension.get("extension")
    return info


def _status(output: bytes, plugin: Mapping[str, Any], name: str) -> dict[str, Any]:
    try:
        whole = json.loads(output)
    except (ValueError, RecursionError) as error:
        # What it printed may be a secret: it is not shown.
        raise Unauthenticated(f"exec plugin {name} printed something else than JSON", _hint(name)) from error
    status = whole.get("status") if isinstance(whole, dict) else None
    if not isinstance(status, dict) or whole.get("kind") != "ExecCredential":
        raise Unauthenticated(f"exec plugin {name} printed no ExecCredential with a status", _hint(name))
    if whole.get("apiVersion") != plugin.get("apiVersion"):
        asked = plugin.get("apiVersion")
        raise Unauthenticated(f"exec plugin {name} answers in another API version than {asked}", _hint(name))
    return status


def _fields(status: Mapping[str, Any], name: str) -> dict[str, str]:
    token, certificate, key = (status.get(field) for field in ("token", "clientCertificateData", "clientKeyData"))
    if isinstance(token, str) and token:
        return {"token": token}
    if isinstance(certificate, str) and certificate and isinstance(key, str) and key:
        encoded = [base64.b64encode(text.encode()).decode() for text in (certificate, key)]
        return {"client-certificate-data": encoded[0], "client-key-data": encoded[1]}
    raise Unauthenticated(f"exec plugin {name} gave neither a token nor a client certificate", _hint(name))


def _install_hint(plugin: Mapping[str, Any], name: str) -> str:
    if name == _GKE_PLUGIN:
        return _GKE_INSTALL
    told = plugin.get("installHint")
    return " ".join(told.split())[:300] if isinstance(told, str) and told.strip() else f"install {name}"


def _hint(name: str) -> str:
    if name == _GKE_PLUGIN:
        return "gcloud auth login, then try: kubectl get nodes"
    return f"run {name} alone to see what it says"


def _last_line(words: bytes | None) -> str:
    lines = (words or b"").decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]
