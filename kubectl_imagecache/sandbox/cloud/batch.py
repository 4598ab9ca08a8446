"""Several calls in one: the multipart/mixed batches that gcloud sends to Compute."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable
from http.client import responses
from urllib.parse import parse_qsl, unquote, urlsplit

from kubectl_imagecache.sandbox.http import Request, Response

_BOUNDARY = "batch_sandbox"


def perform(request: Request, handle: Callable[[Request], Response]) -> Response:
    """Call HANDLE for every part of REQUEST, and answer with all their answers, in order."""
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + request.body, policy=email.policy.HTTP).walk()
    body = ""
    for part in parts:
        if part.get_content_type() != "application/http":
            continue
        answer = handle(_inner(str(part.get_payload()), request.host))
        number = str(part.get("Content-ID", "<0>")).strip("<>")
        body += (
            f"--{_BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: <response-{number}>\r\n\r\n"
            f"HTTP/1.1 {answer.status} {responses.get(answer.status, '')}\r\n"
            f"Content-Type: {answer.content_type}\r\n\r\n"
            f"{answer.body.decode()}\r\n"
        )
    return Response(200, f"{body}--{_BOUNDARY}--\r\n".encode(), f"multipart/mixed; boundary={_BOUNDARY}")


def _inner(text: str, host: str) -> Request:
    first, _, rest = text.lstrip().partition("\n")
    method, target, *_ = first.split()
    message = email.message_from_string(rest)
    url = urlsplit(target)
    headers = {key.lower(): value for key, value in message.items()}
    payload = str(message.get_payload() or "").strip()
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    return Request(method, unquote(url.path), query, headers, payload.encode(), host)
