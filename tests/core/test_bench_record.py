from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.bench import BenchPlan, Sample
from kubectl_imagecache.core.bench_record import plan_of, plan_text, sample_of, sample_text
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.probe import Found, Outcome
from kubectl_imagecache.core.pull_methods import Method, Sureness

words = st.text(max_size=30)
times = st.none() | st.floats(0, 1e9)
outcomes = st.builds(
    Outcome,
    found=st.sampled_from(Found),
    node=words,
    seconds=st.floats(0, 1e6),
    queue_s=times,
    size=st.none() | st.integers(0, 2**60),
    running_s=times,
    method=st.none() | st.sampled_from(Method),
    sure=st.none() | st.sampled_from(Sureness),
    failures=st.integers(0, 100),
    ended=times,
    why=words,
)
plans = st.builds(
    BenchPlan,
    image=words,
    pools=st.lists(words, max_size=4).map(tuple),
    nodes=st.integers(1, 100),
    repeat=st.integers(1, 100),
    scale_up=st.booleans(),
    timeout_s=st.floats(1, 1e6),
    command=st.lists(words, max_size=3).map(tuple),
    service_account=words,
    make_pools=st.booleans(),
    like=words,
    disk_image=st.none() | st.builds(DiskImageRef, words, words),
)
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | words, lambda s: st.lists(s) | st.dictionaries(words, s), max_leaves=10
)


@given(st.builds(Sample, pool=words, attempt=st.integers(0, 999), outcome=outcomes, kin=st.booleans()))
def test_a_sample_is_read_as_it_was_written(sample: Sample) -> None:
    assert sample_of(sample_text(sample)) == sample


@given(plans)
def test_a_plan_is_read_as_it_was_written(plan: BenchPlan) -> None:
    assert plan_of(plan_text(plan)) == plan


@given(st.text() | anything.map(json.dumps))
def test_what_somebody_else_wrote_is_neither(text: str) -> None:
    assert sample_of(text) is None
    assert plan_of(text) is None


@given(st.data())
def test_a_text_that_was_tampered_with_does_no_harm(data: st.DataObject) -> None:
    body = json.loads(sample_text(Sample("a", 0, Outcome(Found.PULLED, "n", 1.0))))
    inside = data.draw(st.booleans())
    part = body["outcome"] if inside else body
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(anything)
    found = sample_of(json.dumps(body))
    assert found is None or found.outcome.found is not Found.PULLED or found.outcome.seconds is not None


def test_another_versions_plan_is_not_taken_for_ours() -> None:
    body = json.loads(plan_text(BenchPlan("nginx", ("a",))))
    assert plan_of(json.dumps({**body, "new_wish": True})) is None
    assert plan_of("x" * 20_000) is None
