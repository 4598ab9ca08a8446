"""`rebuild --verify=boot`: the disk image is read back on a second VM before it counts as made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubectl_imagecache.core.build import ImageState
from kubectl_imagecache.core.plan import BuildPlan
from kubectl_imagecache.core.plan_json import from_json, to_json
from kubectl_imagecache.sandbox.cloud import Machine
from kubectl_imagecache.usecases.rebuild import BuildFailed, abort
from tests.usecases.builds import Killed, MortalHttp, Workshop, workshop


def verified(shop: Workshop) -> BuildPlan:
    return replace(shop.plan(), verify_boot=True)


def lose_a_layer(shop: Workshop) -> None:
    """Let what is read back differ from what was built."""

    def boot(machine: Machine) -> None:
        for path, held in list(machine.state.held.items()):
            if "/images/imagecache-" in path or "/images/inference-" in path:
                machine.state.held[path] = replace(held, chain_ids=frozenset(sorted(held.chain_ids)[1:]))
            if path.endswith("-cache") and machine.instance["name"] in path and held.chain_ids:
                machine.state.held[path] = replace(held, chain_ids=frozenset(sorted(held.chain_ids)[1:]))

    shop.sandbox.cloud.state.boot_hooks.insert(0, boot)


def test_the_disk_image_is_read_back_before_anybody_can_follow_its_family_to_it() -> None:
    with workshop() as shop:
        plan = verified(shop)
        made = shop.build(plan).run()
        assert (made.state, made.family) == (ImageState.READY, "inference")
        assert shop.left() == {"images": [plan.output.ref.name]}
        steps = [about["step"] for name, about in shop.events if name == "step"]
        assert steps.index("create the disk image") < steps.index("wait for the reading")
        assert steps.index("wait for the reading") < steps.index("add the disk image to its family")


def test_a_disk_image_that_is_not_what_was_built_does_not_stay() -> None:
    with workshop() as shop:
        plan = verified(shop)
        lose_a_layer(shop)
        with pytest.raises(BuildFailed, match=r"read back, .*sha256:"):
            shop.build(plan).run()
        assert shop.left() == {}


def requests() -> int:
    with workshop() as shop:
        http = MortalHttp()
        shop.build(verified(shop), http).run()
        return http.sent


@pytest.mark.parametrize("performed", [False, True], ids=["before it is sent", "with the answer lost"])
def test_killed_at_any_request_a_second_run_reads_it_back_and_ends_clean(performed: bool) -> None:
    for at in range(1, requests() + 1):
        with workshop() as shop:
            plan = verified(shop)
            with pytest.raises(Killed):
                shop.build(plan, MortalHttp(at, performed)).run()
            made = shop.build(plan).run()
            assert (made.state, made.family) == (ImageState.READY, "inference"), at
            assert any(name == "step" and "reads the disk image" in about["step"] for name, about in shop.events), at
            assert shop.left() == {"images": [plan.output.ref.name]}, at


def test_killed_at_any_request_an_abort_leaves_neither_vm_nor_an_unread_disk_image() -> None:
    most = 0
    for at in range(1, requests() + 1):
        with workshop() as shop:
            plan = verified(shop)
            with pytest.raises(Killed):
                shop.build(plan, MortalHttp(at)).run()
            began = shop.left()
            most = max(most, len(began.get("instances", ())))
            if set(began) & {"instances", "disks"}:
                abort(shop.compute(), plan.build, shop.clock, lambda name, about: None)
                assert shop.left() == {}, at
    assert most == 2


def test_the_plan_keeps_it_for_whoever_goes_on() -> None:
    with workshop() as shop:
        plan = verified(shop)
        assert from_json(to_json(plan), "plan").verify_boot
        assert plan.hash == shop.plan().hash


def test_a_disk_image_whose_builder_somebody_has_deleted_is_still_read_back_or_removed() -> None:
    for then in ("run", "abort"):
        with workshop() as shop:
            plan = verified(shop)
            with pytest.raises(Killed):
                shop.build(plan, MortalHttp(requests() - 14)).run()
            assert set(shop.left()) == {"images", "instances", "disks"}
            for vm in shop.compute().vms(plan.build):
                shop.compute().delete_vm(vm)
            shop.clock.sleep(60)
            assert shop.left() == {"images": [plan.output.ref.name]}
            assert shop.image(plan.output.ref.name)["labels"]["imagecache-verified"] == "pending"
            if then == "run":
                assert not shop.build(plan).run().unverified
                assert shop.image(plan.output.ref.name)["labels"]["imagecache-verified"] == "boot"
            else:
                abort(shop.compute(), plan.build, shop.clock, lambda name, about: None)
                assert shop.left() == {}


def test_an_abort_leaves_a_finished_disk_image_though_somebody_still_reads_it_back() -> None:
    with workshop() as shop:
        plan = verified(shop)
        made = shop.build(plan).run()
        with pytest.raises(Killed):
            shop.reading(made.name, MortalHttp(6), contents=True, owner=plan.build).run()
        assert set(shop.left()) == {"images", "instances", "disks"}
        abort(shop.compute(), plan.build, shop.clock, lambda name, about: None)
        assert shop.left() == {"images": [made.name]}
