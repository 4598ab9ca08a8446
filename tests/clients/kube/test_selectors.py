"""Label selectors mean what they mean to kubectl."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.clients.kube.selectors import parse_selector
from kubectl_imagecache.core.errors import BadUsage

LABELS = {"app": "web", "example.com/tier": "front", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web , empty=", True),
        ("app=db", False),
        ("app!=db", True),
        ("missing!=x", True),
        ("app in (db,web)", True),
        ("app in (db)", False),
        ("app notin (db, web)", False),
        ("missing notin (a)", True),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("! app", False),
        ("example.com/tier=front,app", True),
        ("in in (in)", False),
    ],
)
def test_selectors_match_as_in_kubectl(text: str, matches: bool) -> None:
    assert all(term.matches(LABELS) for term in parse_selector(text)) is matches


@pytest.mark.parametrize("text", ["a=b=c", "=", ",", "a=b,", "a in b", "a in (b", "a b", "a=b c", "-a", "a>1", "a\x1b"])
def test_malformed_selectors_are_refused(text: str) -> None:
    with pytest.raises(BadUsage, match="not a label selector"):
        parse_selector(text)


WORD = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?", fullmatch=True).filter(
    lambda word: word not in ("in", "notin")
)


@given(st.dictionaries(WORD, WORD, min_size=1, max_size=4))
def test_equalities_made_of_labels_match_these_labels_and_no_others(labels: dict[str, str]) -> None:
    selector = parse_selector(",".join(f"{key}={value}" for key, value in labels.items()))
    assert all(term.matches(labels) for term in selector)
    for key in labels:
        assert not all(term.matches(labels | {key: labels[key] + "x"}) for term in selector)
