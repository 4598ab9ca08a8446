"""Kubeconfigs, credentials and certificates as real files, against real servers."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kubectl_imagecache.clients.kube import Kube, KubeOptions, Scope
from kubectl_imagecache.core.errors import BadAnswer, NotFound, Unauthenticated, Unavailable, UserError
from tests.clients.kube.secure import Certificates, encoded, secure_api
from tests.clients.kube.server import NODES, Waits, api, connect, kubeconfig

SLIM = Scope(events=False)


def plugin(folder: Path, body: str, name: str = "plugin") -> dict[str, Any]:
    """A user whose exec plugin is a real executable that runs BODY (Python)."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport json, os, pathlib, sys\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": str(path), "env": None}}


def giving(**status: Any) -> str:
    whole = {"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential", "status": status}
    return f"print({json.dumps(whole)!r})"


COUNTED = """
count = pathlib.Path(sys.argv[0]).with_name("count")
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
status = {"token": f"token-%d" % number, "expirationTimestamp": "2026-01-15T09:30:00Z"}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential", "status": status}))
"""


TELLING = f"""
told = dict(arguments=sys.argv[1:], mine=os.environ["MINE"], info=json.loads(os.environ["KUBERNETES_EXEC_INFO"]))
pathlib.Path(sys.argv[0]).with_name("told").write_text(json.dumps(told))
{giving(token="t")}
"""


def authorizations(requests: list[Any]) -> set[str | None]:
    return {request.headers.get("authorization") for request in requests}


def test_context_server_and_namespace_are_told(tmp_path: Path) -> None:
    kube = connect(kubeconfig(tmp_path, "https://10.0.0.1/"))
    assert (kube.context, kube.server, kube.namespace) == ("shop", "https://10.0.0.1", "front")


def test_a_token_is_sent(tmp_path: Path) -> None:
    with api([], []) as (served, url):
        connect(kubeconfig(tmp_path, url, {"token": "t0"})).view(SLIM)
        assert authorizations(served.requests) == {"Bearer t0"}


def test_a_token_file_is_read_anew_and_found_beside_its_kubeconfig(tmp_path: Path) -> None:
    with api([], []) as (served, url):
        (tmp_path / "t").write_text("first\n")
        kube = connect(kubeconfig(tmp_path, url, {"tokenFile": "t", "token": "older"}))
        kube.view(SLIM)
        (tmp_path / "t").write_text("second\n")
        kube.view(SLIM)
        assert authorizations(served.requests) == {"Bearer first", "Bearer second"}


def test_user_and_password_are_sent(tmp_path: Path) -> None:
    with api([], []) as (served, url):
        connect(kubeconfig(tmp_path, url, {"username": "me", "password": "pw"})).view(SLIM)
        assert authorizations(served.requests) == {"Basic " + base64.b64encode(b"me:pw").decode()}


def test_an_exec_plugins_token_is_sent(tmp_path: Path) -> None:
    with api([], []) as (served, url):
        connect(kubeconfig(tmp_path, url, plugin(tmp_path, giving(token="made")))).view(SLIM)
        assert authorizations(served.requests) == {"Bearer made"}


def test_a_plugin_named_by_a_relative_path_lies_beside_its_kubeconfig(tmp_path: Path) -> None:
    user = plugin(tmp_path, giving(token="made"))
    user["exec"]["command"] = "./plugin"
    with api([], []) as (served, url):
        connect(kubeconfig(tmp_path, url, user)).view(SLIM)
        assert authorizations(served.requests) == {"Bearer made"}


def test_a_plugins_token_is_renewed_before_it_runs_out(tmp_path: Path) -> None:
    clock = Waits()
    with api([], []) as (served, url):
        kube = connect(kubeconfig(tmp_path, url, plugin(tmp_path, COUNTED)), clock)
        kube.view(SLIM)
        clock.time += timedelta(minutes=29, seconds=30)
        served.requests.clear()
        list(kube.json_pages("nodes"))
        assert authorizations(served.requests) == {"Bearer token-2"}


def test_a_rejected_token_is_renewed_once(tmp_path: Path) -> None:
    with api([], []) as (served, url):
        served.token = "token-2"
        kube = connect(kubeconfig(tmp_path, url, plugin(tmp_path, COUNTED)))
        assert list(kube.json_pages("nodes")) == [b'{"kind": "List", "metadata": {"continue": ""}, "items": []}']
        served.token = "token-9"
        with pytest.raises(Unauthenticated, match="rejects the credentials"):
            list(kube.json_pages("nodes"))


def test_a_failing_plugin_is_named_with_its_last_words(tmp_path: Path) -> None:
    user = plugin(tmp_path, "sys.exit('Traceback\\nReauthentication needed')", "gke-gcloud-auth-plugin")
    with pytest.raises(Unauthenticated) as raised:
        connect(kubeconfig(tmp_path, "http://127.0.0.1:9", user))
    assert raised.value.message == "exec plugin gke-gcloud-auth-plugin failed: Reauthentication needed"
    assert raised.value.hint == "gcloud auth login, then try: kubectl get nodes"


def test_a_plugin_is_told_about_the_cluster_and_its_own_environment(tmp_path: Path, certificates: Certificates) -> None:
    user = plugin(tmp_path, TELLING)
    user["exec"] |= {"provideClusterInfo": True, "args": ["get", "x"], "env": [{"name": "MINE", "value": "yes"}]}
    ca = certificates.file("ca.crt")
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}
    cluster = {"certificate-authority": ca, "extensions": [extension]}
    connect(kubeconfig(tmp_path, "https://127.0.0.1:9", user, cluster))
    assert json.loads((tmp_path / "told").read_text()) == {
        "arguments": ["get", "x"],
        "mine": "yes",
        "info": {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "kind": "ExecCredential",
            "spec": {
                "interactive": False,
                "cluster": {
                    "server": "https://127.0.0.1:9",
                    "certificate-authority-data": encoded(ca),
                    "config": {"audience": "a"},
                },
            },
        },
    }


def test_a_missing_gke_plugin_says_what_to_install(tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": "v1", "command": str(tmp_path / "gke-gcloud-auth-plugin"), "installHint": "no"}}
    with pytest.raises(Unauthenticated) as raised:
        connect(kubeconfig(tmp_path, "http://127.0.0.1:9", user))
    assert raised.value.message == "exec plugin gke-gcloud-auth-plugin is not installed"
    assert raised.value.hint.startswith("gcloud components install gke-gcloud-auth-plugin")


def test_another_missing_plugin_gives_its_own_hint(tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": "v1", "command": "surely-not-there", "installHint": "get it\n from X"}}
    with pytest.raises(Unauthenticated) as raised:
        connect(kubeconfig(tmp_path, "http://127.0.0.1:9", user))
    assert (raised.value.message, raised.value.hint) == (
        "exec plugin surely-not-there is not installed",
        "get it from X",
    )


@pytest.mark.parametrize(
    "body", ["print('s3cr3t')", "print('[]')", "print('{}')", giving(), giving(token=7), giving(token="")]
)
def test_a_plugin_that_talks_nonsense_is_named_without_what_it_said(tmp_path: Path, body: str) -> None:
    with pytest.raises(Unauthenticated) as raised:
        connect(kubeconfig(tmp_path, "http://127.0.0.1:9", plugin(tmp_path, body)))
    assert raised.value.message.startswith("exec plugin plugin ")
    assert "s3cr3t" not in raised.value.message


def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no such kubeconfig: .*/nowhere"):
        connect(tmp_path / "nowhere")


def test_no_kubeconfig_at_all_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as raised:
        Kube.connect(KubeOptions(), env={"KUBECONFIG": str(tmp_path / "gone")}, home=tmp_path)
    assert "get-credentials" in raised.value.hint


def test_a_wrong_context_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as raised:
        connect(kubeconfig(tmp_path, "http://127.0.0.1:9"), context="shopp")
    assert (raised.value.message, raised.value.hint) == (
        f"no context 'shopp' in {tmp_path}/config",
        "did you mean shop?",
    )


def test_a_context_like_no_other_lists_them(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as raised:
        connect(kubeconfig(tmp_path, "http://127.0.0.1:9"), context="xxxxxx")
    assert raised.value.hint == "there are none like it; there are: shop"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b\nc: [1, 2\nd: x: y\n", r"/config, line 3, column \d+: not YAML"),
        ("token: \x01s3cr3t", "/config: not YAML"),
        ("- a\n- b\n", "/config: not a kubeconfig: expected a mapping"),
        ("users: {s3cr3t: 1}", "/config: not a kubeconfig: users should be a list"),
        ("users: [{user: {token: s3cr3t}}]", "/config: an entry of users has no name"),
        ("users: [{name: x, user: s3cr3t}]", "/config: users entry 'x' has no fields"),
    ],
)
def test_a_broken_kubeconfig_is_told_with_file_and_line_but_not_its_secrets(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(BadAnswer, match=words) as raised:
        connect(tmp_path / "config")
    assert "s3cr3t" not in raised.value.message + raised.value.hint


def test_an_empty_kubeconfig_has_no_context(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    with pytest.raises(UserError, match="no current context"):
        connect(tmp_path / "config")


def test_the_first_of_several_files_wins_as_in_kubectl(tmp_path: Path) -> None:
    for name, server in (("a", "http://127.0.0.1:1"), ("b", "http://127.0.0.1:2")):
        (tmp_path / name).mkdir()
        kubeconfig(tmp_path / name, server)
    paths = os.pathsep.join(str(tmp_path / name / "config") for name in ("gone", "b", "a"))
    assert Kube.connect(KubeOptions(), env={"KUBECONFIG": paths}, home=tmp_path).server == "http://127.0.0.1:2"


@pytest.mark.parametrize(
    "server", ["ftp://x", "http://127.0.0.1:99999", "http://exa mple", "https://", "https://[::1", ""]
)
def test_an_impossible_address_is_refused_before_anything_is_sent(tmp_path: Path, server: str) -> None:
    with pytest.raises(UserError, match=r"API server.* cluster 'c1' of context 'shop'"):
        connect(kubeconfig(tmp_path, server))


def test_an_address_without_a_scheme_is_what_kubectl_takes_it_for(tmp_path: Path) -> None:
    assert connect(kubeconfig(tmp_path, "127.0.0.1:9")).server == "http://127.0.0.1:9"


def test_a_server_without_tls_is_told(tmp_path: Path) -> None:
    with api([], []) as (_, url), pytest.raises(Unavailable) as raised:
        connect(kubeconfig(tmp_path, url.replace("http:", "https:"))).view(SLIM)
    assert raised.value.hint == "the server does not speak TLS there: should its address begin with http: instead?"


def test_flags_win_over_the_kubeconfig(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, "http://127.0.0.1:1")
    whole = json.loads(path.read_text())
    whole["clusters"].append({"name": "c2", "cluster": {"server": "http://127.0.0.1:2"}})
    whole["users"].append({"name": "you", "user": {"token": "yours"}})
    path.write_text(json.dumps(whole))
    assert connect(path, cluster="c2").server == "http://127.0.0.1:2"
    with api([], []) as (served, url):
        connect(path, server=url, user="you").view(SLIM)
        assert authorizations(served.requests) == {"Bearer yours"}
    with pytest.raises(NotFound, match="no user 'yuo'"):
        connect(path, user="yuo")


def test_the_servers_certificate_is_checked_by_the_given_authority(tmp_path: Path, certificates: Certificates) -> None:
    ca = certificates.file("ca.crt")
    with secure_api(certificates) as (seen, url):
        for authority in ({"certificate-authority": ca}, {"certificate-authority-data": encoded(ca)}):
            connect(kubeconfig(tmp_path, url, {"token": "t"}, authority)).view(SLIM)
        assert set(seen) == {("", "Bearer t")}


def test_an_unknown_authority_is_refused_unless_told_to_skip(tmp_path: Path, certificates: Certificates) -> None:
    with secure_api(certificates) as (seen, url):
        with pytest.raises(Unavailable) as raised:
            connect(kubeconfig(tmp_path, url)).view(SLIM)
        assert "certificate" in raised.value.message
        assert "certificate-authority" in raised.value.hint
        assert seen == []
        connect(kubeconfig(tmp_path, url, None, {"insecure-skip-tls-verify": True})).view(SLIM)
        assert len(seen) == 2


def test_the_server_may_go_by_another_name(tmp_path: Path, certificates: Certificates) -> None:
    authority = {"certificate-authority": certificates.file("ca.crt")}
    with secure_api(certificates) as (seen, url):
        connect(kubeconfig(tmp_path, url, None, authority | {"tls-server-name": "kube.example"})).view(SLIM)
        with pytest.raises(Unavailable, match=r"other\.example"):
            connect(kubeconfig(tmp_path, url, None, authority | {"tls-server-name": "other.example"})).view(SLIM)
        assert len(seen) == 2


def test_client_certificates_from_files_data_and_plugins_are_shown(tmp_path: Path, certificates: Certificates) -> None:
    crt, key, ca = (certificates.file(name) for name in ("client.crt", "client.key", "ca.crt"))
    made = giving(clientCertificateData=Path(crt).read_text(), clientKeyData=Path(key).read_text())
    users: list[dict[str, Any]] = [
        {"client-certificate": crt, "client-key": key},
        {"client-certificate-data": encoded(crt), "client-key-data": encoded(key)},
        plugin(tmp_path, made),
    ]
    with secure_api(certificates, wants_client=True) as (seen, url):
        for user in users:
            connect(kubeconfig(tmp_path, url, user, {"certificate-authority": ca})).view(SLIM)
        assert seen == [("client", "")] * 6


def test_a_broken_client_certificate_is_told_before_anything_is_sent(
    tmp_path: Path, certificates: Certificates
) -> None:
    user = {"client-certificate": certificates.file("san"), "client-key": certificates.file("client.key")}
    with pytest.raises(UserError, match="can't use the client certificate of context 'shop'"):
        connect(kubeconfig(tmp_path, "https://127.0.0.1:9", user))


def test_a_missing_client_certificate_is_named(tmp_path: Path) -> None:
    user = {"client-certificate": "gone.crt", "client-key": "gone.key"}
    with pytest.raises(UserError, match=r"can't use user 'me' of context 'shop': .*gone\.crt"):
        connect(kubeconfig(tmp_path, "https://127.0.0.1:9", user))


def test_a_missing_certificate_authority_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"can't use the certificate authority of context 'shop': .*gone\.crt"):
        connect(kubeconfig(tmp_path, "https://127.0.0.1:9", None, {"certificate-authority": "gone.crt"}))


def test_within_a_pod_its_service_account_is_used(tmp_path: Path, certificates: Certificates) -> None:
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("pod-token")
    (folder / "namespace").write_text("build\n")
    (folder / "ca.crt").write_bytes(Path(certificates.file("ca.crt")).read_bytes())
    with secure_api(certificates) as (seen, url):
        host, _, port = url.removeprefix("https://").partition(":")
        env = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        kube = Kube.connect(KubeOptions(), env=env, home=tmp_path, pod_folder=folder)
        kube.view(SLIM)
        assert (kube.context, kube.server, kube.namespace) == ("", url, "build")
        assert {authorization.lower() for _, authorization in seen} == {"bearer pod-token"}


def test_an_incomplete_service_account_is_told(tmp_path: Path) -> None:
    env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "9"}
    with pytest.raises(UserError, match="can't use the pod's service account: Service token file does not exist"):
        Kube.connect(KubeOptions(), env=env, home=tmp_path, pod_folder=tmp_path)


@pytest.mark.parametrize("by_plugin", [False, True])
def test_the_kubernetes_package_is_not_loaded_for_tokens(tmp_path: Path, by_plugin: bool) -> None:
    with api([], []) as (served, url):
        path = kubeconfig(tmp_path, url, plugin(tmp_path, giving(token="t")) if by_plugin else {"token": "t"})
        code = (
            "import sys\n"
            "from kubectl_imagecache.clients.kube import KubeOptions, Scope\n"
            "assert not {'msgspec', 'urllib3', 'yaml', 'kubernetes'} & set(sys.modules)\n"
            "from kubectl_imagecache.clients.kube import Kube\n"
            "Kube.connect(KubeOptions(kubeconfig=sys.argv[1])).view(Scope())\n"
            "assert not {'kubernetes', 'google.auth'} & set(sys.modules)\n"
        )
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, env={"PATH": os.environ["PATH"]})
        assert len(served.asked(NODES)) == 1
