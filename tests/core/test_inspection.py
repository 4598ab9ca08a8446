from __future__ import annotations

from dataclasses import replace

import pytest

from kubectl_imagecache.core.contents import CachedImage, Contents, UnreadableRecord, short_digest
from kubectl_imagecache.core.errors import BadUsage, NotFound
from kubectl_imagecache.core.inspection import (
    Facts,
    Inspection,
    asked_of_record,
    asked_of_survey,
    disagreements,
    from_record,
    from_survey,
)
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.core.survey import ListedImage, Survey, SurveyedLayer
from tests.core.factories import MIB, NOW, cached, contents, digest, disk_image, facts, layer_list

AMD = "linux/amd64"
APP, WEB = "gcr.io/p/app:v1", "docker.io/library/web:2"


def row(reference: str, seed: str, platforms: str = AMD) -> list[ListedImage]:
    """An image's two rows, as a real node's containerd has them."""
    return [
        ListedImage(reference, digest(seed), "12.5 MiB", platforms),
        ListedImage(digest(f"config {seed}"), digest(seed), "12.5 MiB", platforms),
    ]


def survey(*rows: ListedImage, layers: str = "", record: Contents | None = None) -> Survey:
    found = [
        SurveyedLayer(x.chain_id, f"snapshots/{n}/fs", 7 * MIB, 8 * MIB, 9) for n, x in enumerate(layer_list(layers))
    ]
    return Survey(rows, tuple(found), record, bytes=100 * MIB, used=50 * MIB)


def answer(reference: str, seed: str, layers: str, platform: str = AMD) -> Facts:
    known = replace(facts(digest(seed), digest(f"config {seed}"), layers=layers), platform=platform)
    return {(parse(reference).at(digest(seed)), platform): known}


def inspected(found: Survey, known: Facts, arch: str = "amd64") -> Inspection:
    return from_survey(found, disk_image(arch=arch), known, "reader 1")


def test_a_disk_of_googles_is_joined_with_what_the_registries_say() -> None:
    found = survey(*row(APP, "app"), *row(WEB, "web"), layers="abc")
    result = inspected(found, {**answer(APP, "app", "ab"), **answer(WEB, "web", "ac")})
    assert [(str(i.image.ref), i.on_disk, i.why) for i in result.images] == [(WEB, 2, ""), (APP, 2, "")]
    app = result.images[1].image
    assert app == CachedImage(
        parse(APP),
        digest("app"),
        frozenset({digest("config app")}),
        20 * MIB,
        tuple(replace(layer, unpacked=7 * MIB) for layer in layer_list("ab")),
        AMD,
    )
    assert (result.findings, result.notes, result.complete) == ((), (), True)
    assert result.contents == Contents(
        tuple(i.image for i in result.images), NOW, "read by reader 1", "", complete=True
    )


def test_without_its_registry_an_image_is_known_by_reference_digest_and_size_alone() -> None:
    refused: Facts = {(parse(APP).at(digest("app")), AMD): NotFound("app is not in the registry")}
    (image,) = inspected(survey(*row(APP, "app"), layers="ab"), refused).images
    assert (image.on_disk, image.why) == (None, "app is not in the registry")
    assert image.image == CachedImage(
        parse(APP), digest("app"), frozenset({digest("config app")}), round(12.5 * MIB), (), AMD
    )


def test_missing_layers_are_found_and_such_an_image_is_not_recorded() -> None:
    found = survey(*row(APP, "app"), *row(WEB, "web"), layers="ab")
    result = inspected(found, {**answer(APP, "app", "ab"), **answer(WEB, "web", "acd")})
    assert result.findings == (f"{WEB}: 2 of its 3 layers are not on the disk",)
    assert [str(i.ref) for i in result.contents.images] == [APP]
    assert not result.contents.complete


def test_where_nobody_says_the_architecture_it_is_that_of_the_layers() -> None:
    index = "linux/amd64,linux/arm64"
    found = survey(*row(APP, "app", index), layers="xy")
    asked = asked_of_survey(found, disk_image())
    assert [platform for _, platform in asked] == ["linux/amd64", "linux/arm64"]
    known = {**answer(APP, "app", "ab"), **answer(APP, "app", "xy", "linux/arm64")}
    (image,) = inspected(found, known, arch="").images
    assert (image.image.platform, image.on_disk) == ("linux/arm64", 2)


def test_layers_of_no_image_and_rows_of_no_image_are_noted() -> None:
    odd = ListedImage("not a reference", digest("odd"), "-", "-")
    result = inspected(survey(*row(APP, "app"), odd, layers="abz"), answer(APP, "app", "ab"))
    assert result.notes == (
        "not a reference is no image reference",
        "1 layers on the disk belong to none of its images",
    )
    assert not result.complete


def test_a_disk_with_a_full_record_needs_no_registry() -> None:
    record = contents(cached(APP, "app", layers="ab"))
    found = survey(*row(APP, "app"), layers="ab", record=record)
    assert asked_of_survey(found, disk_image()) == ()
    result = inspected(found, {})
    assert (result.contents.images, result.builder, result.built) == (record.images, "kubectl-imagecache 0.1.0", NOW)


def test_a_record_on_the_disk_image_is_filled_up_with_layers_where_the_tag_still_means_the_same() -> None:
    short = cached(APP, "app")
    short = replace(short, digest=short_digest(short.digest))
    moved = cached(WEB, "web")
    image = disk_image(held=contents(short, moved), arch="amd64")
    known = {
        (parse(APP), AMD): facts(digest("app"), layers="ab"),
        (parse(WEB), AMD): facts(digest("web, newer"), layers="c"),
    }
    assert set(asked_of_record(image)) == set(known)
    result = from_record(image, known)
    assert [(len(i.image.layers), i.why) for i in result.images] == [(0, "the tag has moved since"), (2, "")]
    assert result.survey is None


@pytest.mark.parametrize("held", [None, UnreadableRecord("it is damaged")])
def test_without_a_record_there_is_nothing_to_tell_without_a_reading(held: UnreadableRecord | None) -> None:
    image = replace(disk_image(), contents=held)
    assert asked_of_record(image) == ()
    with pytest.raises(BadUsage, match="no record"):
        from_record(image, {})


def test_disagreements_of_disk_and_disk_image_are_named() -> None:
    found = inspected(
        survey(*row(APP, "app"), *row(WEB, "web"), layers="ab"),
        {**answer(APP, "app", "a"), **answer(WEB, "web", "b")},
    )

    def against(held: Contents | UnreadableRecord | None) -> list[str]:
        return disagreements(replace(found, disk_image=replace(found.disk_image, contents=held)))

    assert against(None) == []
    assert against(contents(cached(APP, "app"), cached(WEB, "web"))) == []
    assert against(contents(cached(APP, "app"), complete=False)) == []
    assert against(contents(cached(APP, "app"))) == [f"the disk holds {WEB}, its record does not say so"]
    other = contents(cached(APP, "other"), cached(WEB, "web"), cached("gcr.io/p/gone:1"))
    assert against(other) == [
        "the record on the disk image names gcr.io/p/gone:1, the disk does not",
        f"the record on the disk image has {APP} as {digest('other')[:19]}, the disk as {digest('app')[:19]}",
    ]
    assert against(UnreadableRecord("it is damaged")) == ["the record on the disk image can't be used: it is damaged"]
