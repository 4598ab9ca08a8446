from __future__ import annotations

import pytest

from kubectl_imagecache.sandbox.http import Request, Response
from tests.sandbox.cloud.strict import judge

OTHER_CODE = b'{"error": {"code": 403, "message": "m", "status": "S"}}'
IMAGES = "/compute/v1/projects/p/global/images"


def exchange(service: str, method: str, path: str, body: bytes, answer: bytes, status: int = 200) -> list[str]:
    return judge(service, Request(method, path, {}, {}, body, "h"), Response(status, answer))


@pytest.mark.parametrize(
    ("service", "method", "path", "body", "answer", "status"),
    [
        ("compute", "GET", f"{IMAGES}/x", b"", b'{"kind": "compute#image", "nmae": "x"}', 200),
        ("compute", "GET", f"{IMAGES}/x", b"", b'{"kind": "compute#image", "id": "twelve"}', 200),
        ("compute", "GET", f"{IMAGES}/x", b"", b'{"name": "x"}', 200),
        ("compute", "POST", IMAGES, b'{"source_disc": "d"}', b'{"kind": "compute#operation"}', 200),
        ("gke", "GET", "/v1/projects/p/locations/l/clusters/c/nodePools/n", b"", b'{"status": "RUNING"}', 200),
        ("gke", "GET", "/v1/projects/p/locations/l/unheard", b"", b'{"a": 1}', 200),
        ("gke", "GET", "/v1/projects/p/locations/l/clusters", b"", OTHER_CODE, 404),
    ],
)
def test_judge_finds_what_googles_messages_refuse(
    service: str, method: str, path: str, body: bytes, answer: bytes, status: int
) -> None:
    assert len(exchange(service, method, path, body, answer, status)) == 1


def test_judge_is_content_with_a_right_exchange() -> None:
    image = b'{"kind": "compute#image", "id": "12", "name": "x", "architecture": "X86_64"}'
    assert exchange("compute", "GET", f"{IMAGES}/x", b"", image) == []
