from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from kubectl_imagecache.clients.google_auth import AccessToken, GoogleAuth, from_env
from kubectl_imagecache.core.errors import Unauthenticated, Unavailable
from kubectl_imagecache.sandbox.http import Request, Response
from tests.clients.factories import home_env, json_response, program, quick_http, served

SECRET = "s3cret-refresh"


def adc_file(folder: Path, token_url: str, **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "application_default_credentials.json"
    # The one kind of user credentials whose file says where tokens are made.
    user = {
        "type": "external_account_authorized_user",
        "audience": "//iam.googleapis.com/locations/global/workforcePools/w/providers/p",
        "client_id": "id",
        "client_secret": "s3cret-client",
        "refresh_token": SECRET,
        "token_url": token_url,
        "token_info_url": f"{token_url}-info",
    }
    file.write_text(json.dumps({**user, **more}), encoding="utf-8")
    return file


def token_of(env: dict[str, str]) -> str:
    token = from_env(env, quick_http()).token()
    assert token is not None
    return token.value


def test_disabled_credentials_are_anonymous(tmp_path: Path) -> None:
    env = home_env(tmp_path, CLOUDSDK_AUTH_DISABLE_CREDENTIALS="true", CLOUDSDK_AUTH_ACCESS_TOKEN_FILE="/nowhere")
    assert from_env(env, quick_http()).token() is None


def test_a_token_file_comes_first(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n", encoding="utf-8")
    adc_file(tmp_path / "gcloud", "http://127.0.0.1:1/token")
    env = home_env(
        tmp_path, CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=str(tmp_path / "token"), CLOUDSDK_CONFIG=str(tmp_path / "gcloud")
    )
    assert token_of(env) == "from-file"


@pytest.mark.parametrize("text", ["", "two\nlines", "naïve", "sp ace"])
def test_a_token_that_does_not_fit_in_a_header_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text, encoding="utf-8")
    with pytest.raises(Unauthenticated, match="no usable access token"):
        token_of(home_env(tmp_path, CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=str(tmp_path / "token")))


def test_application_default_credentials_are_refreshed(tmp_path: Path) -> None:
    def tokens(request: Request) -> Response:
        form = dict(parse_qsl(request.body.decode()))
        assert (form["grant_type"], form["refresh_token"]) == ("refresh_token", SECRET)
        return json_response({"access_token": "adc-token", "expires_in": 3600, "token_type": "Bearer"})

    with served(tokens) as server:
        file = adc_file(tmp_path, f"{server.url}/token", quota_project_id="quota-p")
        auth = from_env(home_env(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(file)), quick_http())
        token = auth.token()
        assert auth.token() is token
        assert len(server.requests) == 1
        assert auth.token(instead_of=token) is not None
        assert len(server.requests) == 2
    assert token is not None
    assert (token.value, token.quota_project) == ("adc-token", "quota-p")
    assert "adc-token" not in repr(token)
    assert token.expires_at is not None


def test_the_well_known_file_is_found_where_gcloud_keeps_it(tmp_path: Path) -> None:
    with served(lambda _: json_response({"access_token": "t", "expires_in": 3600})) as server:
        adc_file(tmp_path / ".config" / "gcloud", f"{server.url}/token")
        assert token_of(home_env(tmp_path)) == "t"


def test_refused_credentials_name_their_file_and_tell_no_secret(tmp_path: Path) -> None:
    refusal = {"error": "invalid_grant", "error_description": f"{SECRET} has expired"}
    with served(lambda _: json_response(refusal, 400)) as server:
        file = adc_file(tmp_path, f"{server.url}/token")
        auth = from_env(home_env(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(file)), quick_http())
        for _ in range(3):
            with pytest.raises(Unauthenticated) as caught:
                auth.token()
        # The failure is remembered.
        assert len(server.requests) == 1
    assert caught.value.message == f"Google refuses the credentials in {file}, or they have expired"
    assert "gcloud auth application-default login" in caught.value.hint


def test_a_token_server_that_is_away_is_not_called_a_refusal(tmp_path: Path) -> None:
    file = adc_file(tmp_path, "http://127.0.0.1:1/token")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 refuses connections"):
        token_of(home_env(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(file)))


@pytest.mark.parametrize("text", ["{}", "not json", '{"type": "authorized_user"}', '{"type": "service_account"}'])
def test_a_broken_credentials_file_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(Unauthenticated, match=re.escape(f"{file} holds no usable Google credentials")):
        token_of(home_env(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(file)))


def test_a_named_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated, match="/nowhere, which is not a file"):
        token_of(home_env(tmp_path, GOOGLE_APPLICATION_CREDENTIALS="/nowhere"))


def test_gcloud_is_asked_where_there_are_no_application_default_credentials(tmp_path: Path) -> None:
    program(tmp_path / "bin", "gcloud", f'echo "$@" >> {tmp_path}/asked; echo from-gcloud')
    auth = from_env(home_env(tmp_path), quick_http())
    first = auth.token()
    assert first == AccessToken("from-gcloud")
    assert auth.token() == first
    assert (tmp_path / "asked").read_text() == "auth print-access-token --quiet\n"


def test_gcloud_without_an_account_is_said_without_its_words(tmp_path: Path) -> None:
    program(tmp_path / "bin", "gcloud", "echo s3cret >&2; exit 1")
    with pytest.raises(Unauthenticated) as caught:
        token_of(home_env(tmp_path))
    assert caught.value.message == "no Google credentials found, and gcloud has no active account"


def test_nothing_at_all_says_how_to_log_in(tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated) as caught:
        token_of({"HOME": str(tmp_path), "PATH": str(tmp_path)})
    assert caught.value.message == "no Google credentials found"
    assert caught.value.hint == "run `gcloud auth application-default login`, or `gcloud auth login`"


def test_the_metadata_server_gives_the_machines_token(tmp_path: Path) -> None:
    def metadata(request: Request) -> Response:
        assert request.headers["metadata-flavor"] == "Google"
        return json_response({"access_token": "vm-token", "expires_in": 3599, "token_type": "Bearer"})

    with served(metadata) as server:
        env = home_env(tmp_path, GCE_METADATA_HOST=server.url.removeprefix("http://"))
        assert token_of(env) == "vm-token"
        assert server.paths == ["/computeMetadata/v1/instance/service-accounts/default/token"]


def test_a_token_is_renewed_before_it_runs_out() -> None:
    now = 1000.0
    made = iter(AccessToken(f"t{number}", 1000.0 + number * 100) for number in range(1, 9))
    auth = GoogleAuth(lambda: next(made), now=lambda: now)
    seen = []
    for _ in range(3):
        token = auth.token()
        assert token is not None
        seen.append(token.value)
        now += 30
    assert seen == ["t1", "t1", "t2"]
