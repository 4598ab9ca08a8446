from __future__ import annotations

import pytest

from kubectl_imagecache.core.org_policies import Policy

ALL = Policy(allow_all=True)
NONE = Policy(deny_all=True)


def allowed(*values: str) -> Policy:
    return Policy(allowed=frozenset(values))


def denied(*values: str, allow_all: bool = True) -> Policy:
    return Policy(allow_all=allow_all, denied=frozenset(values))


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        (ALL, True),
        (NONE, False),
        (Policy(), True),
        (allowed("projects/debian-cloud"), True),
        (allowed("is:projects/debian-cloud"), True),
        (allowed("projects/ours"), False),
        (allowed("projects/ours", "under:organizations/1"), None),
        (denied("projects/debian-cloud"), False),
        (denied("projects/theirs"), True),
        (denied("under:folders/2"), None),
        (Policy(allowed=frozenset({"projects/debian-cloud"}), denied=frozenset({"projects/debian-cloud"})), False),
    ],
)
def test_a_list_policy_permits_forbids_or_leaves_open(policy: Policy, verdict: bool | None) -> None:
    assert policy.permits("projects/debian-cloud") is verdict


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        (ALL, True),
        (allowed("in:europe-locations"), True),
        (allowed("in:europe-west4-locations"), True),
        (allowed("europe-west4"), True),
        (allowed("europe-west4-b"), True),
        (allowed("us-central1"), False),
        (allowed("in:us-locations"), False),
        (allowed("in:us-locations", "in:eu-locations"), None),
        (allowed("in:eu-locations"), None),
        (denied("in:europe-west4-locations"), False),
        (denied("europe-west4"), False),
        (denied("in:us-locations"), True),
        (denied("in:asia-northeast1-locations", "in:eu-locations"), None),
        (denied("in:europe-locations"), False),
    ],
)
def test_places_are_permitted_by_name_or_by_groups_that_their_names_tell(policy: Policy, verdict: bool | None) -> None:
    assert policy.permits_place("europe-west4-b") is verdict
