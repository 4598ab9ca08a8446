from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.clients.google_auth import AccessToken, GoogleAuth
from kubectl_imagecache.clients.google_http import Api, GoogleHttp, may_have_token, places
from kubectl_imagecache.core.errors import BadAnswer, NotFound, NotPermitted, Unauthenticated, Unavailable, UserError
from kubectl_imagecache.sandbox.http import Request, Response
from tests.clients.factories import json_response, quick_http, served

ASK: dict[str, Any] = {"permission": "compute.images.get", "on": "projects/p", "role": "roles/compute.viewer"}


def google(url: str, auth: GoogleAuth | None = None) -> GoogleHttp:
    return GoogleHttp(quick_http(), auth or GoogleAuth(None), dict.fromkeys(Api, f"{url}/"))


def numbered() -> GoogleAuth:
    made = iter(AccessToken(f"t{number}", quota_project="q") for number in range(9))
    return GoogleAuth(lambda: next(made))


def test_a_request_carries_the_token_and_whose_quota_it_uses() -> None:
    with served(lambda _: json_response({})) as server:
        google(server.url, numbered()).get(Api.COMPUTE, "x", **ASK)
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer t0"
    assert request.headers["x-goog-user-project"] == "q"


def test_a_refused_token_is_renewed_once() -> None:
    def handler(request: Request) -> Response:
        return json_response({}, 401 if request.headers["authorization"] == "Bearer t0" else 200)

    with served(handler) as server:
        google(server.url, numbered()).get(Api.COMPUTE, "x", **ASK)
    assert server.sent == ["Bearer t0", "Bearer t1"]


def test_a_token_that_is_refused_again_is_the_end() -> None:
    with served(lambda _: json_response({}, 401)) as server:
        with pytest.raises(Unauthenticated, match="rejects the credentials"):
            google(server.url, numbered()).get(Api.COMPUTE, "x", **ASK)
        with pytest.raises(Unauthenticated, match="wants credentials"):
            google(server.url).get(Api.COMPUTE, "x", **ASK)
    assert server.sent == ["Bearer t0", "Bearer t1", ""]


def google_error(code: int, message: str, reason: str = "") -> Response:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    return json_response({"error": {"code": code, "message": message, "details": details}}, code)


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (google_error(403, "denied"), NotPermitted, "not permitted: compute.images.get on projects/p"),
        (google_error(404, "gone\nfor ever"), NotFound, "projects/p does not exist: gone"),
        (google_error(400, "bad"), BadAnswer, "HOST answers 400 for projects/p: bad"),
        (google_error(403, "off", "SERVICE_DISABLED"), UserError, "an API is not enabled for projects/p: off"),
        (Response(400, b"<html>"), BadAnswer, "HOST answers 400 for projects/p"),
        (Response(400, b'{"error": []}'), BadAnswer, "HOST answers 400 for projects/p"),
        (Response(302, headers={"Location": "https://evil/"}), BadAnswer, "HOST answers 302 for projects/p"),
    ],
)
def test_refusals_are_told_apart(answer: Response, kind: type[UserError], message: str) -> None:
    with served(lambda _: answer) as server, pytest.raises(UserError) as caught:
        google(server.url).get(Api.COMPUTE, "x", **ASK)
    assert type(caught.value) is kind
    assert caught.value.message == message.replace("HOST", server.url.removeprefix("http://"))


def test_a_rate_limit_that_is_told_with_403_is_waited_for() -> None:
    limit = {"error": {"code": 403, "message": "slow", "errors": [{"reason": "rateLimitExceeded"}]}}
    answers = iter([json_response(limit, 403), json_response({})])
    with served(lambda _: next(answers)) as server:
        assert google(server.url).get(Api.COMPUTE, "x", **ASK).body == b"{}"
    with served(lambda _: json_response(limit, 403)) as server, pytest.raises(Unavailable, match="answers 403"):
        google(server.url).get(Api.COMPUTE, "x", **ASK)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (
            {},
            [
                "https://container.googleapis.com/v1/",
                "https://compute.googleapis.com/compute/v1/",
                "https://storage.googleapis.com/storage/v1/",
                "https://storage.googleapis.com/upload/storage/v1/",
                "https://cloudresourcemanager.googleapis.com/v1/",
                "https://serviceusage.googleapis.com/v1/",
                "https://iam.googleapis.com/v1/",
                "https://orgpolicy.googleapis.com/v2/",
                "https://secretmanager.googleapis.com/v1/",
                "https://logging.googleapis.com/v2/",
            ],
        ),
        (
            {
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER": "http://127.0.0.1:1/",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": "http://127.0.0.1:2/compute/v1/",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": "http://127.0.0.1:2",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER": "http://127.0.0.1:2/",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE": "http://127.0.0.1:4/",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM": "http://127.0.0.1:5/v1/",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_ORGPOLICY": "http://127.0.0.1:6",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": "http://127.0.0.1:7/",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": "http://127.0.0.1:3/",
            },
            [
                "http://127.0.0.1:1/v1/",
                "http://127.0.0.1:2/compute/v1/",
                "http://127.0.0.1:2/storage/v1/",
                "http://127.0.0.1:2/upload/storage/v1/",
                "http://127.0.0.1:2/v1/",
                "http://127.0.0.1:4/v1/",
                "http://127.0.0.1:5/v1/",
                "http://127.0.0.1:6/v2/",
                "http://127.0.0.1:7/v1/",
                "http://127.0.0.1:3/v2/",
            ],
        ),
    ],
)
def test_places_are_googles_or_gclouds_overrides(env: dict[str, str], expected: list[str]) -> None:
    assert list(places(env).values()) == expected


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://compute.googleapis.com/x", True),
        ("https://container-abc.p.googleapis.com/x", True),
        ("http://127.0.0.1:80/x", True),
        ("http://localhost/x", True),
        ("http://compute.googleapis.com/x", False),
        ("https://compute.googleapis.com.evil.example/x", False),
        ("https://evilgoogleapis.com/x", False),
        ("https://evil.example/googleapis.com", False),
        ("https://googleapis.com@evil.example/", False),
        ("http://127.0.0.1.evil.example/", False),
    ],
)
def test_a_token_goes_to_google_and_this_machine_only(url: str, may: bool) -> None:
    assert may_have_token(url) is may


@given(st.from_regex(r"[a-z0-9.-]{1,40}", fullmatch=True))
def test_no_other_host_may_have_a_token(host: str) -> None:
    google = host == "googleapis.com" or host.endswith(".googleapis.com")
    assert may_have_token(f"https://{host}/") is (google or host in ("localhost", "127.0.0.1"))
