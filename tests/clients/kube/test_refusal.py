from __future__ import annotations

import json

import pytest

from kubectl_imagecache.clients.kube.refusal import words_of


def status(message: str, *causes: str) -> bytes:
    return json.dumps({"message": message, "details": {"causes": [{"message": cause} for cause in causes]}}).encode()


def test_a_refusals_causes_follow_its_message_on_one_line() -> None:
    assert words_of(status("Cannot evict pod", "the budget web\nneeds 2 healthy pods")) == (
        "Cannot evict pod. the budget web needs 2 healthy pods"
    )


def test_a_long_refusal_is_cut() -> None:
    assert words_of(status("x" * 1000)) == "x" * 300


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b"{}", b'{"details": {"causes": 3}}', b'{"details": 1}', b"[" * 100_000]
)
def test_what_is_no_status_gives_no_reason(content: bytes) -> None:
    assert words_of(content) == "no reason given"
