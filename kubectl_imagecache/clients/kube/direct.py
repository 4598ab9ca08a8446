"""Connections whose credentials are plain data, made without the kubernetes package (0.5 s of CPU to import)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubectl_imagecache.clients.kube.kubeconfig import Choice
from kubectl_imagecache.core.errors import Unauthenticated, UserError

if TYPE_CHECKING:
    import ssl

    import urllib3

_USER = frozenset({"token", "tokenFile", "as", "as-uid", "as-groups", "as-user-extra"})
_CLUSTER = frozenset(
    {
        "server",
        "certificate-authority",
        "certificate-authority-data",
        "insecure-skip-tls-verify",
        "tls-server-name",
        "extensions",
    }
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class PlainToken:
    """A bearer token from the kubeconfig, or from a file that somebody renews; none at all if both are empty."""

    token: str = ""
    file: str = ""
    """Wins over `token`, as in kubectl."""

    def headers(self) -> Mapping[str, str]:
        """Headers that authenticate one request; Unauthenticated if the file can't be read."""
        token = self.token
        if self.file:
            try:
                token = Path(self.file).read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise Unauthenticated(f"can't read the token file {self.file}") from error
        return {"Authorization": f"Bearer {token}"} if token else {}

    def renew(self) -> bool:
        """Nothing can be renewed: a token is what it is."""
        return False


def is_plain(choice: Choice, env: Mapping[str, str]) -> bool:
    """Whether CHOICE needs nothing but a token (or nothing) and certificates to check the server by, and no proxy."""
    proxied = any(env.get(name) or env.get(name.upper()) for name in _PROXIES)
    return not proxied and _keys(choice.user) <= _USER and _keys(choice.cluster) <= _CLUSTER


def plain_token(user: Mapping[str, Any]) -> PlainToken:
    """The token of a kubeconfig's USER."""
    return PlainToken(_text(user, "token"), _text(user, "tokenFile"))


def plain_pool(choice: Choice) -> urllib3.PoolManager:
    """Connections to CHOICE's server; raise UserError for a certificate authority that can't be used."""
    import ssl

    import urllib3
    from urllib3.util.ssl_ import create_urllib3_context

    cluster = choice.cluster
    file, data = _text(cluster, "certificate-authority"), _text(cluster, "certificate-authority-data")
    settings: dict[str, Any] = {"maxsize": 8}
    if not cluster["server"].startswith("https"):
        return urllib3.PoolManager(**settings)
    trusted = cluster.get("insecure-skip-tls-verify") is not True
    # urllib3's own context: both of its major versions then check the host's name themselves, IP addresses too.
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if trusted else ssl.CERT_NONE)
    if not trusted:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # The kubeconfig asks for it.
    elif file or data:
        _trust(context, file, data, choice)
    else:
        context.load_default_certs()
    if name := _text(cluster, "tls-server-name"):
        settings |= {"server_hostname": name, "assert_hostname": name}
    return urllib3.PoolManager(ssl_context=context, **settings)


def _trust(context: ssl.SSLContext, file: str, data: str, choice: Choice) -> None:
    """Make CONTEXT trust this authority and no other."""
    try:
        if data:
            context.load_verify_locations(cadata=base64.b64decode(data, validate=True).decode("ascii"))
        else:
            context.load_verify_locations(cafile=file)
    except (OSError, ValueError, binascii.Error) as error:
        where = "certificate-authority-data" if data else file
        raise UserError(f"can't use the certificate authority of context {choice.context!r}: {where}") from error


def _keys(fields: Mapping[str, Any]) -> set[str]:
    return {key for key, value in fields.items() if value}


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""
