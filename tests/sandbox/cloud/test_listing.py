from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.sandbox.cloud.errors import ApiError
from kubectl_imagecache.sandbox.cloud.listing import filter_test, page

ITEM = {"name": "vm-1", "status": "READY", "diskSizeGb": "10", "boot": True, "labels": {"env": "prod", "a-b": "x"}}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("name = vm-1", True),
        ('name="vm-*"', True),
        ("name = vm", False),
        ("name != vm-1", False),
        (r'name eq ".*\\bvm\\b.*"', True),
        ("name ne vm-.", False),
        ("labels.env:*", True),
        ("labels.nope:*", False),
        ("labels.env:ro", True),
        ("labels.a-b = x", True),
        ("diskSizeGb > 9", True),
        ("diskSizeGb >= 11", False),
        ("boot = true", True),
        ("(status = READY) (name = vm-1)", True),
        ("(status eq READY) (name eq other)", False),
        ("status = PENDING OR name = vm-1", True),
        ("NOT (status = PENDING OR name = vm-1)", False),
        ("-status = PENDING", True),
        ("status = READY AND (labels.env = dev OR labels.env = prod)", True),
    ],
)
def test_filter_selects(text: str, matches: bool) -> None:
    assert filter_test(text)(ITEM) is matches


@pytest.mark.parametrize(
    "text", ["name", "name =", "(name = x", "= x", "name = x )", "OR", 'name = "x', "name ~ x", "name eq *"]
)
def test_unreadable_filter_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="Invalid list filter expression"):
        filter_test(text)


@given(st.text(alphabet="nameq []{}+?=!<>:()\"'* ORANDT-.", max_size=30))
def test_any_filter_is_read_or_refused(text: str) -> None:
    try:
        filter_test(text)(ITEM)
    except ApiError as error:
        assert error.code == 400


@given(st.integers(1, 50), st.integers(0, 60))
def test_pages_join_to_the_whole_list(size: int, count: int) -> None:
    items = [{"name": f"n{number:03}"} for number in range(count)]
    seen, token = page(items, {"maxResults": str(size)})
    while token:
        more, token = page(items, {"maxResults": str(size), "pageToken": token})
        seen += more

    assert seen == items


@pytest.mark.parametrize(
    "query", [{"pageToken": "???"}, {"pageToken": "eA=="}, {"maxResults": "501"}, {"orderBy": "size"}]
)
def test_senseless_page_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(ApiError, match="Invalid value for field"):
        page([], query)
