from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.kubelet_words import Said, Word, may_matter, understand
from kubectl_imagecache.core.pulls import PulledMessage, parse_pulled, usual_pull

DIGEST = "sha256:" + "0123456789abcdef" * 4
# (Oldest minor version, newest, reason, message, what it says): the kubelet's words as
# pkg/kubelet/images/image_manager.go of each version formats them.
CORPUS = [
    (24, 34, "Pulling", 'Pulling image "nginx"', Said(Word.PULLING, "nginx")),
    (35, 36, "Pulling", 'spec.containers{web}: Pulling image "nginx:1.27"', Said(Word.PULLING, "nginx:1.27")),
    (
        24,
        25,
        "Pulled",
        'Successfully pulled image "nginx" in 1.536908032s',
        Said(Word.PULLED, "nginx", PulledMessage("nginx", 1.536908032, 1.536908032)),
    ),
    (
        26,
        26,
        "Pulled",
        'Successfully pulled image "nginx" in 850ms',
        Said(Word.PULLED, "nginx", PulledMessage("nginx", 0.85, 0.85)),
    ),
    (
        27,
        29,
        "Pulled",
        'Successfully pulled image "localhost:5000/a/b:1" in 4.879s (1m2.3s including waiting)',
        Said(Word.PULLED, "localhost:5000/a/b:1", PulledMessage("localhost:5000/a/b:1", 4.879, 62.3, None, True)),
    ),
    (
        30,
        34,
        "Pulled",
        f'Successfully pulled image "a/b@{DIGEST}" in 43.2s (45s including waiting). Image size: 123 bytes.',
        Said(Word.PULLED, f"a/b@{DIGEST}", PulledMessage(f"a/b@{DIGEST}", 43.2, 45.0, 123, True)),
    ),
    (
        35,
        36,
        "Pulled",
        'spec.initContainers{get}: Successfully pulled image "m" in 393ms (393ms including waiting). '
        "Image size: 64753325 bytes.",
        Said(Word.PULLED, "m", PulledMessage("m", 0.393, 0.393, 64753325, True)),
    ),
    (
        24,
        34,
        "Pulled",
        'Container image "nginx:1" already present on machine',
        Said(Word.PRESENT, "nginx:1", PulledMessage("nginx:1", None, None)),
    ),
    (
        33,
        36,
        "Pulled",
        'Container image "nginx:1" already present on machine and can be accessed by the pod',
        Said(Word.PRESENT, "nginx:1", PulledMessage("nginx:1", None, None)),
    ),
    (
        24,
        36,
        "Failed",
        'Failed to pull image "nope:1": rpc error: code = NotFound desc = failed to pull and unpack image\n"nope:1": '
        "not found",
        Said(
            Word.FAILED,
            "nope:1",
            why='rpc error: code = NotFound desc = failed to pull and unpack image "nope:1": not found',
        ),
    ),
    (24, 30, "BackOff", 'Back-off pulling image "nope:1"', Said(Word.BACK_OFF, "nope:1")),
    (
        31,
        36,
        "BackOff",
        'Back-off pulling image "nope:1": ErrImagePull: not found',
        Said(Word.BACK_OFF, "nope:1", why="ErrImagePull: not found"),
    ),
    (24, 36, "Failed", "Error: ErrImagePull", Said(Word.OTHER)),
    (24, 36, "Failed", "Error: ImagePullBackOff", Said(Word.OTHER)),
    (24, 36, "Failed", 'Error: failed to create containerd container: image "x": mount failed', Said(Word.OTHER)),
    (24, 36, "BackOff", "Back-off restarting failed container web in pod web-1_default(6ba7)", Said(Word.OTHER)),
    (35, 36, "BackOff", "spec.containers{image}: Back-off restarting failed container image in pod web-1_default(6ba7)",
     Said(Word.OTHER)),
    (
        24,
        36,
        "ErrImageNeverPull",
        'Container image "x:1" is not present with pull policy of Never',
        Said(Word.NEVER, "x:1"),
    ),
    (
        24,
        36,
        "InspectFailed",
        'Failed to apply default image tag "UPPER": couldn\'t parse image reference "UPPER": must be lowercase',
        Said(Word.INVALID, "UPPER", why='couldn\'t parse image reference "UPPER": must be lowercase'),
    ),
    (
        24,
        36,
        "InspectFailed",
        'Failed to inspect image "x": rpc error: code = Unavailable',
        Said(Word.INVALID, "x", why="rpc error: code = Unavailable"),
    ),
    (24, 36, "ImageStreaming", "Image a-docker.pkg.dev/b/c:1 is backed by image streaming.",
     Said(Word.STREAMED, "a-docker.pkg.dev/b/c:1")),
    (28, 36, "SecondaryDiskCachin", "Image a/b:1 is backed by secondary disk cache.", Said(Word.DISK_CACHED, "a/b:1")),
    (28, 36, "SecondaryBootDiskCaching", "Image a/b:1 is backed by Secondary Boot Disk caching.",
     Said(Word.DISK_CACHED, "a/b:1")),
    (24, 36, "Scheduled", "Successfully assigned default/web to n1", Said(Word.OTHER)),
]  # fmt: skip


@pytest.mark.parametrize(("oldest", "newest", "reason", "message", "said"), CORPUS)
def test_every_kubelets_words_are_understood(oldest: int, newest: int, reason: str, message: str, said: Said) -> None:
    assert 24 <= oldest <= newest <= 36
    assert understand(reason, message) == said


@pytest.mark.parametrize("version", range(24, 37))
def test_the_corpus_has_pulls_failures_and_back_offs_of_every_version(version: int) -> None:
    words = {said.word for oldest, newest, _, _, said in CORPUS if oldest <= version <= newest}
    assert {Word.PULLING, Word.PULLED, Word.PRESENT, Word.FAILED, Word.BACK_OFF, Word.NEVER, Word.INVALID} <= words


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("Pulled", "Image nginx has arrived after 4s"),
        ("Pulling", 'Fetching image "nginx"'),
        ("Failed", "The image could not be verified"),
        ("ImageStreaming", "Image streaming is on"),
        ("SecondaryDiskCachin", "something else"),
        ("InspectFailed", ""),
    ],
)
def test_unknown_words_about_images_are_told_apart_from_other_things(reason: str, message: str) -> None:
    assert understand(reason, message).word is Word.UNKNOWN


@given(st.text(max_size=30), st.text(max_size=200))
def test_no_text_is_too_odd(reason: str, message: str) -> None:
    said = understand(reason, message)
    assert may_matter(reason) or said == Said(Word.OTHER)


@given(
    st.sampled_from(["Pulling", "Pulled", "Failed", "BackOff", "InspectFailed", "ErrImageNeverPull"]),
    st.text(alphabet='Pulingd "\\sim/:@{}()\n', max_size=200),
)
def test_image_reasons_never_raise_and_are_never_lost(reason: str, message: str) -> None:
    assert isinstance(understand(reason, message), Said)
    if reason in ("Pulling", "Pulled", "InspectFailed", "ErrImageNeverPull"):
        assert understand(reason, message).word is not Word.OTHER


@given(st.integers(0, 10**16), st.integers(0, 10**15), st.none() | st.integers(0, 10**15))
def test_go_durations_come_through_to_the_nanosecond(pull_ns: int, queue_ns: int, size: int | None) -> None:
    tail = "" if size is None else f". Image size: {size} bytes."
    message = f'Successfully pulled image "a/b:1" in {go(pull_ns)} ({go(pull_ns + queue_ns)} including waiting){tail}'
    told = PulledMessage("a/b:1", pull_ns / 1e9, (pull_ns + queue_ns) / 1e9, size, True)
    assert understand("Pulled", message) == Said(Word.PULLED, "a/b:1", told)


def go(nanos: int) -> str:
    """As time.Duration.String prints it (https://pkg.go.dev/time#Duration.String)."""
    if nanos < 1000:
        return f"{nanos}ns" if nanos else "0s"
    if nanos < 1_000_000:
        return f"{decimal(nanos, 1000)}µs"
    if nanos < 1_000_000_000:
        return f"{decimal(nanos, 1_000_000)}ms"
    minutes, rest = divmod(nanos, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{head}{decimal(rest, 1_000_000_000)}s"


def decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    return f"{whole}.{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else str(whole)


USUAL = 'Successfully pulled image "IMAGE" in PULL (WAIT including waiting). Image size: SIZE bytes.'
TIMES = ["0s", "1.5s", "850ms", "1m2.3s", "-1s", "1.2.3s", ".5s", "s", "ms", "1s2", "²s", "1.123456789s", "1e3s"]


@given(
    st.text(alphabet='ab/:@"\\ µ', max_size=12),
    *[st.sampled_from(TIMES) | st.integers(0, 10**16).map(go)] * 2,
    st.sampled_from(["0", "123", "-1", "1²", "", "9" * 19, "9" * 20]),
    st.sampled_from(["", "spec.containers{c}: "]),
)
def test_the_usual_way_reads_what_the_patterns_read(image: str, pull: str, wait: str, size: str, prefix: str) -> None:
    message = prefix + USUAL.replace("IMAGE", image).replace("PULL", pull).replace("WAIT", wait).replace("SIZE", size)
    usual = usual_pull(message)
    # Without its last full stop, which kubelets always write, a message is only read by the patterns.
    slow = parse_pulled(message[:-1])
    assert usual_pull(message[:-1]) is None
    assert usual is None or slow == PulledMessage(*usual, True)
    assert parse_pulled(message) == slow
