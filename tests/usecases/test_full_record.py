"""Where the description has no room for the record, it goes to Cloud Storage, and leaves with its build."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kubectl_imagecache.clients.compute import Compute
from kubectl_imagecache.clients.http import Answer
from kubectl_imagecache.core.build import ImageState
from kubectl_imagecache.core.contents import Contents
from kubectl_imagecache.core.errors import BadUsage, NotPermitted
from kubectl_imagecache.core.plan import BuildPlan, check_folder
from kubectl_imagecache.core.plan_json import from_json, to_json
from kubectl_imagecache.sandbox.catalog import ImageSpec, LayerSpec
from kubectl_imagecache.usecases.rebuild import BuildFailed, abort, not_recorded
from tests.usecases.builds import Killed, MortalHttp, Workshop, workshop

FOLDER = "gs://records/ours"
MANY = [f"docker.io/acme/{hashlib.sha256(b'%d' % number).hexdigest()}:v1" for number in range(60)]


@pytest.fixture
def shop() -> Iterator[Workshop]:
    with workshop() as found:
        publish(found)
        yield found


def publish(shop: Workshop) -> None:
    base = LayerSpec("base", 2**20, 2**21)
    for reference in MANY:
        shop.sandbox.catalog.publish(ImageSpec(reference.rpartition(":")[0], "v1", (base,)))


def large(shop: Workshop, url: str = FOLDER) -> BuildPlan:
    return shop.plan(*MANY, contents_url=url)


def objects(shop: Workshop) -> list[str]:
    return [f"gs://{bucket}/{name}" for bucket, name in shop.sandbox.cloud.state.objects]


def test_a_whole_record_is_stored_and_found_by_whoever_reads_the_disk_image(shop: Workshop) -> None:
    plan = large(shop)
    made = shop.build(plan).run()
    (url,) = objects(shop)
    assert url.startswith(f"{FOLDER}/{made.name}-") and url.endswith(".json")
    image = Compute(shop.google()).disk_image(plan.output.ref)
    assert isinstance(image.contents, Contents) and image.contents.complete
    assert sorted(str(held.ref) for held in image.contents.images) == sorted(MANY)
    assert len(image.description) < 400


def test_what_fits_stays_in_the_description(shop: Workshop) -> None:
    plan = shop.plan(contents_url=FOLDER)
    shop.build(plan).run()
    assert objects(shop) == [] and not_recorded(plan) == []


def test_the_plan_says_beforehand_where_the_record_goes_or_what_it_will_lack(shop: Workshop) -> None:
    assert not_recorded(large(shop)) == [
        "the description has no room for the record of 60 images: it goes to gs://records/ours,"
        " with its SHA-256 in the description"
    ]
    (text,) = not_recorded(large(shop, ""))
    assert text.startswith("the description has no room to record acme/")
    assert text.endswith(" (--contents-url gs://BUCKET keeps a whole record)")


def test_it_travels_with_the_plan(shop: Workshop) -> None:
    plan = large(shop)
    assert from_json(to_json(plan).encode(), "plan") == plan
    with pytest.raises(BadUsage):
        from_json(to_json(replace(plan, output=replace(plan.output, contents_url="gs://x y"))).encode(), "plan")


class Noting(MortalHttp):
    """Http that notes which of its requests was the upload."""

    upload = 0

    def send(self, *args: Any, **more: Any) -> Answer:
        answer = super().send(*args, **more)
        if "/upload/" in str(args[1]):
            self.upload = self.sent
        return answer


def upload() -> int:
    with workshop() as shop:
        publish(shop)
        http = Noting()
        shop.build(large(shop), http).run()
        return http.upload


@pytest.mark.parametrize("how", ["run", "abort"])
def test_killed_around_the_upload_there_is_one_record_or_after_an_abort_none(how: str) -> None:
    first = upload()
    assert first > 0
    for at in range(first - 1, first + 4):
        with workshop() as shop:
            publish(shop)
            plan = large(shop)
            with pytest.raises(Killed):
                shop.build(plan, MortalHttp(at, performed=True)).run()
            assert len(objects(shop)) == (at >= first)
            shop.clock.sleep(10)
            if how == "run":
                assert shop.build(plan).run().state is ImageState.READY
                assert len(objects(shop)) == 1, at
            else:
                removed = abort(shop.compute(), plan.build, shop.clock, lambda name, about: None)
                assert (objects(shop), shop.left()) == ([], {}), at
                assert [name.partition(" ")[0] for name in removed].count("record") == (at >= first)


def test_a_record_that_cant_be_stored_stops_the_build_where_it_can_go_on(shop: Workshop) -> None:
    plan = large(shop)
    shop.sandbox.cloud.deny("storage.objects.create")
    with pytest.raises(NotPermitted) as refused:
        shop.build(plan).run()
    assert refused.value.permission == "storage.objects.create"
    assert "images" not in shop.left()
    shop.sandbox.cloud.allow("storage.objects.create")
    assert shop.build(plan).run().state is ImageState.READY


def test_a_build_that_fails_at_its_disk_image_takes_its_record_along(shop: Workshop) -> None:
    plan = large(shop)
    shop.sandbox.cloud.fail_operation("insert", plan.output.ref.name, reason="X", message="no", times=99)
    with pytest.raises(BuildFailed):
        shop.build(plan).run()
    abort(shop.compute(), plan.build, shop.clock, lambda name, about: None)
    assert (objects(shop), shop.left()) == ([], {})


@pytest.mark.parametrize(
    "url", ["gs://B", "gs:///a", "https://x/y", "gs://bucket/a b", "gs://bucket/$(id)", "gs://bucket/a//b"]
)
def test_only_a_plain_folder_is_taken(url: str) -> None:
    with pytest.raises(BadUsage):
        check_folder(url)
    assert check_folder("gs://bucket/a/") == "gs://bucket/a"
