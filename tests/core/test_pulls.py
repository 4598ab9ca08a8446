"""The kubelet's words about pulls, by minor version, and Go's durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.pulls import PulledMessage, parse_duration, parse_pulled


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ('Successfully pulled image "R" in 1.536908032s', PulledMessage("R", 1.536908032, 1.536908032)),
        (
            'Successfully pulled image "R" in 4.879s (4.879s including waiting)',
            PulledMessage("R", 4.879, 4.879, None, True),
        ),
        (
            'Successfully pulled image "R" in 43.2s (45s including waiting). Image size: 123 bytes.',
            PulledMessage("R", 43.2, 45.0, 123, True),
        ),
        (
            'spec.containers{main}: Successfully pulled image "R" in 1m2.3s (1h0m2.3s including waiting). '
            "Image size: 0 bytes.",
            PulledMessage("R", 62.3, 3602.3, 0, True),
        ),
        ('spec.initContainers{a}: Successfully pulled image "R" in 850ms', PulledMessage("R", 0.85, 0.85)),
        ('Container image "R" already present on machine', PulledMessage("R", None, None)),
        (
            'Container image "R" already present on machine and can be accessed by the pod',
            PulledMessage("R", None, None),
        ),
        ('Successfully pulled image "a\\"b" in 0s', PulledMessage('a"b', 0.0, 0.0)),
    ],
)
def test_every_kubelets_words_are_understood(message: str, told: PulledMessage) -> None:
    assert parse_pulled(message) == told


@pytest.mark.parametrize(
    "message",
    [
        "",
        'Successfully pulled image "R"',
        'Successfully pulled image "R" in soon',
        'Successfully pulled image "R" in 5',
        'Failed to pull image "R" in 5s',
        'Container image "R" already present on machinery',
        "x" * 100_000,
    ],
)
def test_unknown_words_are_not_guessed_at(message: str) -> None:
    assert parse_pulled(message) is None


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("1ns", 1),
        ("1.5µs", 1_500),
        ("1.5μs", 1_500),
        ("1.5us", 1_500),
        ("850ms", 850_000_000),
        ("1m2.3s", 62_300_000_000),
        ("1h0m0.000000001s", 3_600_000_000_001),
        ("-1.5h", -5_400_000_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("1.9999999999s", 1_999_999_999),
        ("300s", 300_000_000_000),
    ],
)
def test_durations_are_exact_to_the_nanosecond(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "1", "s", "1 s", "1s ", ".s", "1d", "--1s", "1s-1s", "١s", "1e3s", "+", "0x1s"])
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def go_string(nanoseconds: int) -> str:
    """Go's time.Duration.String, for values that aren't negative."""
    if nanoseconds == 0:
        return "0s"
    for unit, scale in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if nanoseconds < min(scale * 1000, 1_000_000_000):
            return f"{_fraction(nanoseconds, scale)}{unit}"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_fraction(rest, 1_000_000_000)}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _fraction(value: int, scale: int) -> str:
    whole, rest = divmod(value, scale)
    digits = str(rest).rjust(len(str(scale)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


DURATION = st.integers(0, 2**63 - 1) | st.integers(0, 10**10)


@given(DURATION)
def test_what_go_prints_is_read_back_exactly(nanoseconds: int) -> None:
    assert parse_duration(go_string(nanoseconds)) == nanoseconds


IMAGE = st.from_regex(r"[a-z0-9./:@_-]{1,80}", fullmatch=True)


@given(
    IMAGE, DURATION, DURATION, st.none() | st.integers(0, 2**63 - 1), st.sampled_from(["", "spec.containers{c-1}: "])
)
def test_what_a_kubelet_says_is_read_back(image: str, pull: int, wait: int, size: int | None, prefix: str) -> None:
    message = f'{prefix}Successfully pulled image "{image}" in {go_string(pull)} ({go_string(wait)} including waiting)'
    message += "" if size is None else f". Image size: {size} bytes."
    assert parse_pulled(message) == PulledMessage(image, pull / 1e9, wait / 1e9, size, True)


@given(st.text(max_size=200))
def test_any_text_is_either_understood_or_not(text: str) -> None:
    told = parse_pulled(text)
    assert told is None or told.image in text.replace("\\", "")
