from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.compare import Known, compare, needs_registry
from kubectl_imagecache.core.contents import CachedImage, Contents, short_digest
from kubectl_imagecache.core.demand import ImageUse
from kubectl_imagecache.core.reasons import ImageMissing, NewTag, TagMoved
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.core.report import Match, Policy, UseMatch
from tests.core.factories import MIB, cached, contents, demand, digest, facts, layer_list, use

APP = "gcr.io/p/app:v1"


def match_one(
    image_use: ImageUse, held: Contents, known: Known | None = None, policy: Policy | None = None
) -> tuple[UseMatch, tuple[CachedImage, ...]]:
    (match,), unused = compare(demand(image_use), held, known or Known(), policy or Policy())
    return match, unused


def test_the_same_digest_is_cached_whatever_its_name() -> None:
    mirror = cached("mirror.example/app:v9", "x")
    match, unused = match_one(use(APP, "x"), contents(mirror))
    assert (match.match, match.cached, match.reason, unused) == (Match.CACHED, mirror, None, ())


def test_a_digest_prefix_is_enough() -> None:
    short = CachedImage(parse(APP), short_digest(digest("x")))
    assert match_one(use(APP, "x"), contents(short))[0].match is Match.CACHED


def test_the_name_that_is_used_is_preferred_among_equals() -> None:
    other, same = cached("gcr.io/p/other:v1", "x"), cached(APP, "x")
    match, unused = match_one(use(APP, "x"), contents(other, same))
    assert (match.cached, unused) == (same, (other,))


def test_index_manifest_and_config_digests_are_one_image() -> None:
    known = Known({digest(d): facts(digest("index"), digest("config")) for d in ("index", "config")})
    assert match_one(use(APP, "config"), contents(cached(APP, "index")), known)[0].match is Match.CACHED


def test_a_tag_not_yet_pulled_counts_as_cached_by_its_name() -> None:
    assert match_one(use(APP, pulled=False), contents(cached(APP)))[0].match is Match.CACHED


def test_a_moved_tag_is_told_apart_from_a_new_tag_and_a_missing_image() -> None:
    held = contents(cached(APP, "old"), cached("gcr.io/p/web:v1"))
    moved, _ = match_one(use(APP, "new"), held)
    assert moved.reason == TagMoved(parse(APP), digest("old"), digest("new"), None, 1, 1)
    tagged, _ = match_one(use("gcr.io/p/app:v2"), held)
    assert tagged.reason == NewTag(parse("gcr.io/p/app:v2"), ("v1",), None, 1, 1)
    missing, _ = match_one(use("gcr.io/p/db:v1", nodes=3, pods=5), held)
    assert missing.reason == ImageMissing(parse("gcr.io/p/db:v1"), None, 3, 5)


def test_the_version_that_is_replaced_is_not_called_unused() -> None:
    other = cached("gcr.io/p/other:v1")
    _, unused = match_one(use("gcr.io/p/app:v2"), contents(cached(APP), other))
    assert unused == (other,)


def test_moved_tag_is_stale_but_partly_cached() -> None:
    known = Known({digest("new"): facts(digest("new"), layers="abcd")})
    match, _ = match_one(use(APP, "new"), contents(cached(APP, "old", layers="abx")), known)
    assert (match.match, match.layers_cached, match.layers, match.bytes_cached) == (Match.PARTLY, 2, 4, 20 * MIB)
    assert match.compressed == 40 * MIB
    assert match.cached_chain_ids == {layer.chain_id for layer in layer_list("ab")}
    assert isinstance(match.reason, TagMoved)


def test_all_layers_on_the_disk_is_as_good_as_the_image() -> None:
    known = Known({digest("new"): facts(digest("new"), layers="ab")})
    held = contents(cached("gcr.io/p/one:v1", layers="a"), cached("gcr.io/p/two:v1", layers="ab"))
    match, _ = match_one(use("gcr.io/p/app:v2", "new"), held, known)
    assert (match.match, match.reason) == (Match.CACHED, None)


def test_without_layers_of_the_disk_none_are_counted() -> None:
    known = Known({digest("new"): facts(digest("new"), layers="ab")})
    match, _ = match_one(use("gcr.io/p/app:v2", "new"), contents(cached(APP)), known)
    assert (match.match, match.layers_cached, match.bytes_cached) == (Match.MISSING, None, None)


def test_unknown_contents_make_unknown_matches_and_call_nothing_unused() -> None:
    (match,), unused = compare(demand(use(APP)), None, Known(sizes={digest(APP): 7}), Policy())
    assert (match.match, match.compressed, unused) == (Match.UNKNOWN, 7, ())


def test_small_and_ignored_images_do_not_count() -> None:
    known = Known(sizes={digest("db"): 10})
    assert match_one(use("db", "db"), contents(), known, Policy(min_size=11))[0].match is Match.IGNORED
    assert match_one(use("db", "db"), contents(), known, Policy(min_size=10))[0].match is Match.MISSING
    assert match_one(use("db", "db"), contents(), known, Policy(ignore=("db:*",)))[0].match is Match.IGNORED
    assert (
        match_one(use("db", "db"), contents(), known, Policy(ignore=("docker.io/library/d?",)))[0].match
        is Match.IGNORED
    )


def test_the_registry_is_needed_only_where_names_agree_and_digests_do_not() -> None:
    held = contents(cached(APP))
    assert not needs_registry(use(APP), held)
    assert needs_registry(use(APP, "other"), held)
    assert not needs_registry(use("gcr.io/p/db:v1"), held)
    assert not needs_registry(use(APP, pulled=False), held)


NAMES = st.sampled_from(["gcr.io/p/a:v1", "gcr.io/p/a:v2", "gcr.io/p/b:v1", "c:v1"])
SEEDS = st.sampled_from(["1", "2", "3"])
USES = st.lists(st.builds(lambda n, s: use(n, s), NAMES, SEEDS), unique_by=lambda u: (u.ref, u.digest), max_size=6)
HELD = st.lists(st.builds(lambda n, s: cached(n, s), NAMES, SEEDS), unique_by=lambda i: i.ref, max_size=5)


@given(USES, HELD)
def test_every_use_is_matched_once_and_a_reason_says_why_it_is_not_cached(
    uses: list[ImageUse], held: list[CachedImage]
) -> None:
    matches, unused = compare(demand(*uses), contents(*held), Known(), Policy())
    assert [match.use for match in matches] == uses
    for match in matches:
        assert (match.match is Match.CACHED) == any(i.digest == match.use.digest for i in held)
        assert (match.reason is None) == (match.match is Match.CACHED)
    assert set(unused) <= set(held)
    assert not {i for i in unused if i.digest in {u.digest for u in uses}} - {
        i for i in held if sum(j.digest == i.digest for j in held) > 1
    }


@given(USES, HELD)
def test_a_disk_with_all_that_is_used_lacks_nothing(uses: list[ImageUse], held: list[CachedImage]) -> None:
    whole = [*held, *(replace(cached(str(u.ref)), digest=u.digest) for u in uses)]
    matches, _ = compare(demand(*uses), contents(*whole), Known(), Policy())
    assert all(match.match is Match.CACHED for match in matches)
