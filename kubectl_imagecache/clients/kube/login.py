"""Credentials for the API server: those of a chosen context, or of the pod that this runs in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubectl_imagecache.clients.kube.direct import is_plain, plain_pool, plain_token
from kubectl_imagecache.clients.kube.kubeconfig import Choice
from kubectl_imagecache.clients.kube.plugin import run_plugin
from kubectl_imagecache.clients.kube.transport import Credentials
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.errors import UserError

if TYPE_CHECKING:
    import urllib3

IN_CLUSTER_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its service account's token, CA certificate and namespace."""
_EARLY = timedelta(minutes=1)
"""A token is renewed so long before it runs out."""


@dataclass(frozen=True, slots=True)
class Login:
    """A way to the server, and who we are there."""

    server: str
    """URL."""
    pool: urllib3.PoolManager
    credentials: Credentials


@dataclass(slots=True)
class PluginToken:
    """The token that an exec plugin gave; renewed before it runs out, and when the server rejects it."""

    choice: Choice
    clock: Clock
    token: str
    expires: datetime | None

    def headers(self) -> Mapping[str, str]:
        """Headers that authenticate one request."""
        if self.expires is not None and self.clock.now() >= self.expires - _EARLY:
            self.renew()
        return {"Authorization": f"Bearer {self.token}"}

    def renew(self) -> bool:
        """Run the plugin again; raise Unauthenticated if it fails."""
        fields, self.expires = run_plugin(self.choice)
        self.token = fields.get("token", "")
        return bool(self.token)


@dataclass(frozen=True, slots=True)
class PackageCredentials:
    """Credentials that the kubernetes package holds and renews itself."""

    configuration: Any
    """kubernetes.client.Configuration."""

    def headers(self) -> Mapping[str, str]:
        """Headers that authenticate one request."""
        settings = self.configuration.auth_settings().values()
        return {one["key"]: one["value"] for one in settings if one["in"] == "header" and one["value"]}

    def renew(self) -> bool:
        """The package renews before each request if need be; a rejection is final."""
        return False


def log_in(choice: Choice, clock: Clock, env: Mapping[str, str]) -> Login:
    """Load CHOICE's credentials; Unauthenticated for a failing plugin, UserError for what can't be loaded."""
    plugin_token: PluginToken | None = None
    if choice.user.get("exec") and not choice.user.get("token") and not choice.user.get("tokenFile"):
        given, expires = run_plugin(choice)
        if "token" in given:
            plugin_token = PluginToken(choice, clock, given["token"], expires)
        user = {key: value for key, value in choice.user.items() if key != "exec"} | given
        choice = replace(choice, user=user)
    if is_plain(choice, env):
        server = str(choice.cluster["server"]).rstrip("/")
        return Login(server, plain_pool(choice), plugin_token or plain_token(choice.user))
    configuration = _load(choice)
    credentials = plugin_token or PackageCredentials(configuration)
    return Login(configuration.host.rstrip("/"), _pool(configuration, choice.context), credentials)


def _load(choice: Choice) -> Any:
    from kubernetes import config
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException

    load: Any = config.load_kube_config_from_dict
    document = {
        "current-context": "chosen",
        "contexts": [{"name": "chosen", "context": {"cluster": "chosen", "user": "chosen"}}],
        "clusters": [{"name": "chosen", "cluster": dict(choice.cluster)}],
        "users": [{"name": "chosen", "user": dict(choice.user)}],
    }
    configuration = type.__call__(Configuration)  # Not the copy of a process-wide default.
    whose = f"can't use user {choice.user_name!r} of context {choice.context!r}"
    try:
        load(document, client_configuration=configuration, persist_config=False)
    except ConfigException as error:
        raise UserError(f"{whose}: {_first_line(error)}") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "a field has the wrong form"
        where = f": {error.filename}" if isinstance(error, OSError) and error.filename else ""
        raise UserError(f"{whose}: {reason}{where}", "check it with: kubectl config view") from error
    return configuration


def _pool(configuration: Any, context: str) -> urllib3.PoolManager:
    import ssl

    import urllib3
    from kubernetes.client.rest import RESTClientObject

    if not configuration.verify_ssl:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # The kubeconfig asks for it.
    try:
        if configuration.cert_file:
            # The package leaves them to the first connection, where a broken one looks like a network error.
            ssl.create_default_context().load_cert_chain(configuration.cert_file, configuration.key_file)
        pool: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
    except (OSError, ValueError) as error:
        raise UserError(
            f"can't use the client certificate of context {context!r}: {_first_line(error)}",
            "check client-certificate and client-key in the kubeconfig",
        ) from error
    return pool


def log_in_from_pod(env: Mapping[str, str], folder: Path) -> Login:
    """The service account's credentials of the pod that this runs in; UserError if they aren't complete."""
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException, incluster_config

    loader: Any = incluster_config.InClusterConfigLoader
    configuration = type.__call__(Configuration)
    try:
        loader(str(folder / "token"), str(folder / "ca.crt"), environ=env).load_and_set(configuration)
    except (ConfigException, OSError) as error:
        raise UserError(f"can't use the pod's service account: {_first_line(error)}", f"see {folder}") from error
    return Login(configuration.host, _pool(configuration, "in-cluster"), PackageCredentials(configuration))


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
