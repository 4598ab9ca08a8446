from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.references import ImageRef, digest_of_image_id, parse

HEX = "a" * 64
HARD = {
    "nginx": ("docker.io", "library/nginx", "latest", ""),
    "nginx:1.27": ("docker.io", "library/nginx", "1.27", ""),
    "user/app": ("docker.io", "user/app", "latest", ""),
    "index.docker.io/nginx": ("docker.io", "library/nginx", "latest", ""),
    "docker.io/library/nginx": ("docker.io", "library/nginx", "latest", ""),
    "localhost/app": ("localhost", "app", "latest", ""),
    "localhost:5000/app:v1": ("localhost:5000", "app", "v1", ""),
    "registry:5000/a/b": ("registry:5000", "a/b", "latest", ""),
    "[::1]:5000/app": ("[::1]:5000", "app", "latest", ""),
    "UPPER/app": ("UPPER", "app", "latest", ""),
    "gcr.io/p/a.b_c__d-e/f:T.a_g-1": ("gcr.io", "p/a.b_c__d-e/f", "T.a_g-1", ""),
    f"gcr.io/p/app@sha256:{HEX}": ("gcr.io", "p/app", "", f"sha256:{HEX}"),
    f"gcr.io/p/app:v1@sha256:{HEX}": ("gcr.io", "p/app", "v1", f"sha256:{HEX}"),
    f"app@sha512:{'b' * 128}": ("docker.io", "library/app", "", f"sha512:{'b' * 128}"),
    "example.com:443/x": ("example.com:443", "x", "latest", ""),
    HEX[:63]: ("docker.io", f"library/{HEX[:63]}", "latest", ""),
}


@pytest.mark.parametrize(("text", "parts"), HARD.items())
def test_references_are_normalised(text: str, parts: tuple[str, str, str, str]) -> None:
    assert parse(text) == ImageRef(*parts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a//b",
        "Nginx",
        "nginx:",
        "nginx@",
        "-x/y",
        "a/b:c:d",
        "https://gcr.io/a",
        HEX,
        "a b",
        "nginx\n",
        "a/../b",
        f"app@sha256:{'a' * 63}",
        f"app@sha256:{'A' * 64}",
        "app@md5:" + "a" * 32,
        ":5000/x",
        "x" * 5000,
        "ünï/x",
        "a/b$(id)",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(BadUsage) as refused:
        parse(text)
    assert "not an image reference" in refused.value.message


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused_plainly(text: str) -> None:
    try:
        ref = parse(text)
    except BadUsage:
        return
    assert parse(str(ref)) == ref
    assert parse(ref.familiar) == ref


@pytest.mark.parametrize(
    ("image_id", "digest"),
    {
        f"gcr.io/p/app@sha256:{HEX}": f"sha256:{HEX}",
        f"docker-pullable://gcr.io/p/app@sha256:{HEX}": f"sha256:{HEX}",
        f"docker://sha256:{HEX}": f"sha256:{HEX}",
        f"sha256:{HEX}": f"sha256:{HEX}",
        "": "",
        "gcr.io/p/app:v1": "",
        f"sha256:{HEX[:-1]}": "",
        "sha256:" + "z" * 64: "",
    }.items(),
)
def test_every_shape_of_image_id_gives_its_digest(image_id: str, digest: str) -> None:
    assert digest_of_image_id(image_id) == digest
