"""Credentials for the API server, loaded by the kubernetes package from a chosen context or from within a pod."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from kubectl_imagecache.clients.kube.kubeconfig import Choice
from kubectl_imagecache.clients.kube.wire import parse_time
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.errors import Unauthenticated, UserError

IN_CLUSTER_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its service account's token, CA certificate and namespace."""
_GKE_PLUGIN = "gke-gcloud-auth-plugin"
_GKE_HINT = "gcloud components install gke-gcloud-auth-plugin (or the package google-cloud-cli-gke-gcloud-auth-plugin)"
_EARLY = timedelta(minutes=1)
"""A token is renewed so long before it runs out."""


@dataclass(slots=True)
class Login:
    """What the kubernetes package made of the credentials; renewed when they run out."""

    choice: Choice | None
    """None within a cluster, where the package itself reads the token file again."""
    clock: Clock
    configuration: Any
    """kubernetes.client.Configuration."""
    expires: datetime | None = None

    def headers(self) -> Mapping[str, str]:
        """Headers that authenticate one request."""
        if self.expires is not None and self.clock.now() >= self.expires - _EARLY:
            self.renew()
        found: dict[str, str] = {}
        for setting in self.configuration.auth_settings().values():
            if setting["in"] == "header" and setting["value"]:
                found[setting["key"]] = setting["value"]
        return found

    def renew(self) -> bool:
        """Run the exec plugin again; False if there is none. Raises Unauthenticated if it fails."""
        if self.choice is None or not self.choice.user.get("exec"):
            return False
        # New client certificates would need a new connection pool; plugins that GKE knows give tokens.
        token, self.expires = run_plugin(self.choice)
        if "token" not in token:
            return False
        self.configuration.refresh_api_key_hook = None
        for key in self.configuration.api_key:
            self.configuration.api_key[key] = f"Bearer {token['token']}"
        return True


def log_in(choice: Choice, clock: Clock) -> Login:
    """Load CHOICE's credentials; Unauthenticated for a failing plugin, UserError for what can't be loaded."""
    from kubernetes import config
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException

    load: Any = config.load_kube_config_from_dict
    user = dict(choice.user)
    expires = None
    if user.get("exec") and not user.get("token") and not user.get("tokenFile"):
        # The package only logs what a plugin does wrong and goes on without credentials, so it is run first.
        given, expires = run_plugin(choice)
        del user["exec"]
        user.update(given)
    document = {
        "current-context": "chosen",
        "contexts": [{"name": "chosen", "context": {"cluster": "chosen", "user": "chosen"}}],
        "clusters": [{"name": "chosen", "cluster": dict(choice.cluster)}],
        "users": [{"name": "chosen", "user": user}],
    }
    configuration = type.__call__(Configuration)  # Not the copy of a process-wide default.
    try:
        load(document, client_configuration=configuration, persist_config=False)
    except ConfigException as error:
        raise UserError(
            f"can't use user {choice.user_name!r} of context {choice.context!r}: {_first_line(error)}"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "a field has the wrong form"
        where = f": {error.filename}" if isinstance(error, OSError) and error.filename else ""
        raise UserError(
            f"can't use user {choice.user_name!r} of context {choice.context!r}: {reason}{where}",
            "check it with: kubectl config view",
        ) from error
    return Login(choice, clock, configuration, expires)


def log_in_from_pod(clock: Clock, env: Mapping[str, str], folder: Path) -> Login:
    """The service account's credentials of the pod that this runs in; UserError if they aren't complete."""
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException, incluster_config

    loader: Any = incluster_config.InClusterConfigLoader
    configuration = type.__call__(Configuration)
    try:
        loader(str(folder / "token"), str(folder / "ca.crt"), environ=env).load_and_set(configuration)
    except (ConfigException, OSError) as error:
        raise UserError(f"can't use the pod's service account: {_first_line(error)}", f"see {folder}") from error
    return Login(None, clock, configuration)


def run_plugin(choice: Choice) -> tuple[dict[str, str], datetime | None]:
    """Run the user's exec plugin; what it gives as kubeconfig fields, and until when it is good.

    Raises Unauthenticated with the plugin's name and its last words, or with what to install.
    """
    from kubernetes.config import ConfigException, exec_provider, kube_config

    provider: Any = exec_provider.ExecProvider
    node: Any = kube_config.ConfigNode
    plugin = choice.user["exec"]
    command = plugin.get("command") if isinstance(plugin, dict) else None
    if not isinstance(command, str) or not command:
        raise UserError(f"user {choice.user_name!r} has an exec plugin without a command")
    name = Path(command).name
    if shutil.which(command) is None:
        told = plugin.get("installHint")
        hint = " ".join(told.split())[:300] if isinstance(told, str) and told.strip() else f"install {name}"
        raise Unauthenticated(f"exec plugin {name} is not installed", _GKE_HINT if name == _GKE_PLUGIN else hint)
    try:
        status = provider(node("exec", dict(plugin)), None, node("cluster", dict(choice.cluster))).run()
    except ConfigException as error:
        raise Unauthenticated(f"exec plugin {name} failed: {_last_line(error)}", _plugin_hint(name)) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unauthenticated(f"exec plugin {name} can't be run: {type(error).__name__}", _plugin_hint(name)) from error
    fields = _fields(status, name)
    until = status.get("expirationTimestamp")
    return fields, parse_time(until) if isinstance(until, str) else None


def _fields(status: Any, name: str) -> dict[str, str]:
    if isinstance(status, dict) and isinstance(status.get("token"), str) and status["token"]:
        return {"token": status["token"]}
    pair = [status.get(key) if isinstance(status, dict) else None for key in ("clientCertificateData", "clientKeyData")]
    if all(isinstance(text, str) and text for text in pair):
        certificate, key = (base64.b64encode(str(text).encode()).decode() for text in pair)
        return {"client-certificate-data": certificate, "client-key-data": key}
    raise Unauthenticated(f"exec plugin {name} gave neither a token nor a client certificate", _plugin_hint(name))


def _plugin_hint(name: str) -> str:
    if name == _GKE_PLUGIN:
        return "gcloud auth login, then try: kubectl get nodes"
    return f"run {name} alone to see what it says"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def _last_line(error: BaseException) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "")[:300]
