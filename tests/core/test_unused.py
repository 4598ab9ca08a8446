from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.kubelet_words import Said, Word
from kubectl_imagecache.core.unused import Recorded, kept
from tests.core.factories import cached, digest

DAY = 86_400.0
NOW = 1_768_467_600.0
OLD, OTHER = cached("docker.io/library/old:v1"), cached("docker.io/library/other:v1")


def recorded(began_days: float, until_days: float = 0.0, **seen_days: float) -> Recorded:
    """SEEN_DAYS: name of an image -> how many days ago it was used."""
    found = Recorded(NOW - began_days * DAY)
    found.note(Said(Word.OTHER), NOW - until_days * DAY)
    for name, days in seen_days.items():
        found.note(Said(Word.PRESENT, f"{name}:v1"), NOW - days * DAY)
    return found


def names(*recordings: Recorded, days: float = 30) -> tuple[list[str], bool]:
    images, covered = kept([OLD, OTHER], recordings, NOW, days * DAY)
    return [image.ref.familiar for image in images], covered


def test_what_was_used_within_the_time_stays_and_the_rest_goes() -> None:
    assert names(recorded(40, old=29, other=31)) == (["old:v1"], True)


def test_recordings_that_dont_go_back_so_far_let_nothing_go() -> None:
    assert names(recorded(29)) == (["old:v1", "other:v1"], False)
    assert names() == (["old:v1", "other:v1"], False)


def test_a_recording_that_ended_long_ago_lets_nothing_go() -> None:
    assert names(recorded(60, until_days=3)) == (["old:v1", "other:v1"], False)


def test_recordings_one_after_another_count_as_one_but_not_across_a_hole() -> None:
    assert names(recorded(40, until_days=10), recorded(9.5)) == ([], True)
    assert names(recorded(40, until_days=10), recorded(5)) == (["old:v1", "other:v1"], False)


def test_an_image_is_known_by_its_digest_too() -> None:
    found = recorded(40)
    found.note(Said(Word.PULLED, f"registry.example/mirror/old@{digest('docker.io/library/old:v1')}"), NOW - DAY)
    assert names(found) == (["old:v1"], True)


def test_a_failed_pull_and_an_odd_name_are_no_use() -> None:
    found = recorded(40)
    found.note(Said(Word.FAILED, "old:v1"), NOW)
    found.note(Said(Word.PRESENT, "NOT A//REFERENCE"), NOW)
    assert names(found) == ([], True)


@given(
    st.lists(st.tuples(st.floats(0, 90), st.floats(0, 90), st.none() | st.floats(0, 90)), max_size=4), st.floats(1, 60)
)
def test_whatever_is_recorded_nothing_seen_lately_is_let_go(
    recordings: list[tuple[float, float, float | None]], days: float
) -> None:
    made = [recorded(max(a, b), min(a, b), **({} if seen is None else {"old": seen})) for a, b, seen in recordings]
    stay, covered = names(*made, days=days)
    if any(seen is not None and seen < days - 1e-6 for _, _, seen in recordings) or not covered:
        assert "old:v1" in stay
