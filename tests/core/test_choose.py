from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core import choose as module
from kubectl_imagecache.core.choose import Candidate, benefit, choose, footprint, rank

SIZES = {letter: (index + 1) * 7 for index, letter in enumerate("abcdefgh")}


def image(name: str, letters: str, cold_starts: int = 1) -> Candidate:
    return Candidate(name, {letter: SIZES[letter] for letter in letters}, cold_starts)


CANDIDATES = st.lists(
    st.builds(
        image,
        st.text("xyz", min_size=1, max_size=3),
        st.text("abcdefgh", min_size=1, max_size=4),
        st.integers(0, 5),
    ),
    unique_by=lambda candidate: candidate.name,
    max_size=7,
)


def test_a_shared_layer_counts_once() -> None:
    both = [image("one", "ab"), image("two", "ac")]
    assert footprint(both) == SIZES["a"] + SIZES["b"] + SIZES["c"]
    assert benefit(both) == footprint(both)


def test_an_image_is_ranked_by_what_it_adds() -> None:
    big, like_it, other = image("big", "gh"), image("like", "ah"), image("other", "e")
    assert rank([other, like_it, big]) == [big, other, like_it]


def test_shared_layers_make_two_small_images_better_than_one_large() -> None:
    one, two, large = image("one", "ha"), image("two", "hb"), image("large", "gc")
    room = footprint([one, two])
    assert {c.name for c in choose([large, one, two], room)} == {"one", "two"}


def test_without_a_limit_all_go() -> None:
    assert len(choose([image("one", "a"), image("two", "b", 0)], None)) == 2


@given(CANDIDATES, st.integers(0, 200))
def test_a_choice_fits_and_none_is_better(candidates: list[Candidate], capacity: int) -> None:
    chosen = choose(candidates, capacity)
    assert footprint(chosen) <= capacity
    assert {c.name for c in chosen} <= {c.name for c in candidates}
    for candidate in candidates:
        if candidate not in chosen and footprint([*chosen, candidate]) <= capacity:
            assert benefit([*chosen, candidate]) == benefit(chosen)


@given(CANDIDATES, st.integers(0, 200))
def test_the_greedy_way_fits_and_beats_every_single_image(candidates: list[Candidate], capacity: int) -> None:
    fitting = [c for c in candidates if c.size <= capacity]
    greedy = max((module._greedy(fitting, capacity, per_byte) for per_byte in (True, False)), key=benefit)
    assert footprint(greedy) <= capacity
    assert benefit(greedy) >= max((benefit([c]) for c in fitting), default=0)


@given(CANDIDATES, st.integers(0, 200))
def test_the_order_of_candidates_changes_nothing(candidates: list[Candidate], capacity: int) -> None:
    again = sorted(candidates, key=lambda c: c.name[::-1])
    assert choose(candidates, capacity) == choose(again, capacity)
