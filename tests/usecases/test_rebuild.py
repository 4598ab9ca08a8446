from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kubectl_imagecache.builder.job import decode, encode
from kubectl_imagecache.core import record
from kubectl_imagecache.core.build import ImageState
from kubectl_imagecache.core.build_requests import DEVICE, image_body, pack_plan, unpack_plan, vm_body
from kubectl_imagecache.core.contents import Contents
from kubectl_imagecache.core.errors import BadUsage, NotFound, UserError
from kubectl_imagecache.sandbox.cloud import Machine
from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.usecases.rebuild import BuildFailed, abort, job_of
from tests.usecases.builds import PROJECT, Killed, MortalHttp, Workshop, workshop


@pytest.fixture
def shop() -> Iterator[Workshop]:
    with workshop() as found:
        yield found


def requests_of_a_whole_build() -> int:
    with workshop() as shop:
        http = MortalHttp()
        shop.build(shop.plan(), http).run()
        return http.sent


def test_a_build_leaves_a_ready_disk_image_that_holds_the_layers_and_says_so(shop: Workshop) -> None:
    plan = shop.plan()
    made = shop.build(plan).run()
    image = shop.image(made.name)

    assert shop.left() == {"images": [plan.output.ref.name]}
    assert (made.state, image["family"], image["diskSizeGb"]) == (ImageState.READY, "inference", "10")
    assert shop.sandbox.cloud.contents(f"projects/{PROJECT}/global/images/{made.name}") == set(plan.layers)
    found = record.unpack(image["description"])
    assert isinstance(found, Contents)
    assert sorted(str(i.ref) for i in found.images) == sorted(str(i.ref) for i in plan.images)
    assert image["labels"]["imagecache-plan"] == plan.hash
    assert image["description"].startswith("2 container images for GKE nodes (amd64), built 2026-01-15.\n")


def test_nothing_is_named_in_the_family_before_it_is_ready(shop: Workshop) -> None:
    plan = shop.plan()
    assert "family" not in image_body(plan, "disk", "", {})
    shop.build(plan).run()
    steps = [about["step"] for name, about in shop.events if name == "step"]
    assert steps[-3:] == ["create the disk image", "add the disk image to its family", "delete the VM"]


@pytest.mark.parametrize("performed", [False, True], ids=["before it is sent", "with the answer lost"])
def test_killed_at_any_request_a_second_run_ends_the_build(performed: bool) -> None:
    for at in range(1, requests_of_a_whole_build() + 1):
        with workshop() as shop:
            plan = shop.plan()
            with pytest.raises(Killed):
                shop.build(plan, MortalHttp(at, performed)).run()
            made = shop.build(plan).run()
            assert (made.state, made.family) == (ImageState.READY, "inference"), at
            assert shop.left() == {"images": [plan.output.ref.name]}, at


@pytest.mark.parametrize("performed", [False, True], ids=["before it is sent", "with the answer lost"])
def test_killed_at_any_request_an_abort_leaves_nothing_or_a_finished_disk_image(performed: bool) -> None:
    for at in range(1, requests_of_a_whole_build() + 1):
        with workshop() as shop:
            plan = shop.plan()
            with pytest.raises(Killed):
                shop.build(plan, MortalHttp(at, performed)).run()
            shop.clock.sleep(10)
            begun = bool(shop.left())
            finished = shop.left() == {"images": [plan.output.ref.name]}
            if begun and not finished:
                assert abort(shop.compute(), plan.build, shop.clock, lambda name, about: None), at
            else:
                with pytest.raises(NotFound, match="nothing to abort"):
                    abort(shop.compute(), plan.build, shop.clock, lambda name, about: None)
            assert shop.left() == ({"images": [plan.output.ref.name]} if finished else {}), at


def test_killed_and_forgotten_the_vm_and_its_disks_go_by_themselves(shop: Workshop) -> None:
    with pytest.raises(Killed):
        shop.build(shop.plan(), MortalHttp(8)).run()
    assert set(shop.left()) == {"instances", "disks"}
    shop.clock.sleep(2400)
    assert shop.left() == {}


def test_another_machine_goes_on_with_the_plan_that_the_vm_carries(shop: Workshop) -> None:
    plan = shop.plan()
    with pytest.raises(Killed):
        shop.build(plan, MortalHttp(9)).run()
    (vm,) = shop.compute().vms(plan.build)
    carried = unpack_plan(vm.packed_plan, vm.name)
    assert carried == plan
    assert shop.build(carried).run().name == plan.output.ref.name


def test_a_second_client_of_the_same_plan_joins_the_first(shop: Workshop) -> None:
    plan = shop.plan()
    with pytest.raises(Killed):
        shop.build(plan, MortalHttp(9)).run()
    shop.build(plan).run()
    assert [about["step"] for name, about in shop.events if name == "step"].count("create the VM") == 1


FAULTS = [
    Fault(kind="status", status=503, times=2),
    Fault(kind="status", status=429, retry_after_s=1, times=2),
    Fault(kind="status", status=500, times=1, applied=True),
    Fault(kind="reset", times=2),
    Fault(kind="reset", times=1, applied=True),
    Fault(kind="truncate", times=1),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.kind} {f.status} {'applied' if f.applied else ''}")
@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("DELETE", ""), ("PATCH", ""), ("GET", "serialPort")])
def test_a_fault_that_passes_does_not_end_a_build(shop: Workshop, fault: Fault, method: str, path: str) -> None:
    shop.sandbox.world.faults.rules.append(replace(fault, service="compute", method=method, path=path))
    plan = shop.plan()
    assert shop.build(plan).run().state is ImageState.READY
    assert shop.left() == {"images": [plan.output.ref.name]}


def test_a_builder_that_fails_leaves_nothing_and_its_words(shop: Workshop) -> None:
    plan = shop.plan()
    (first, *rest) = plan.images
    wrong = replace(plan, images=(replace(first, digest="sha256:" + "0" * 64), *rest))
    with pytest.raises(BuildFailed, match="404 Not Found"):
        shop.build(wrong).run()
    assert shop.left() == {}


@pytest.mark.parametrize(
    ("kind", "target", "code", "what"),
    [
        ("insert", "", "ZONE_RESOURCE_POOL_EXHAUSTED", "the VM: no capacity"),
        ("setLabels", "", "INTERNAL", "the VM's label: no capacity"),
        ("stop", "", "INTERNAL", "stopping the VM: no capacity"),
        ("patch", "", "INTERNAL", "the family: no capacity"),
        ("delete", "", "INTERNAL", "deleting the VM: no capacity"),
    ],
)
def test_an_operation_that_ends_badly_is_told_and_a_second_run_or_abort_ends_clean(
    shop: Workshop, kind: str, target: str, code: str, what: str
) -> None:
    shop.sandbox.cloud.fail_operation(kind, target, reason=code, message="no capacity")
    plan = shop.plan()
    with pytest.raises(BuildFailed) as caught:
        shop.build(plan).run()
    assert caught.value.message == what
    assert caught.value.hint
    assert shop.build(plan).run().state is ImageState.READY
    assert shop.left() == {"images": [plan.output.ref.name]}


def test_a_disk_image_that_somebody_else_made_meanwhile_is_left_alone() -> None:
    with workshop() as shop:
        plan = shop.plan()
        shop.sandbox.cloud.add_image({"name": plan.output.ref.name, "labels": {"imagecache-build": "other"}})
        with pytest.raises(BuildFailed, match="made by other"):
            shop.build(plan).run()
        assert shop.image(plan.output.ref.name)["labels"] == {"imagecache-build": "other"}


def stops_itself(machine: Machine) -> None:
    machine.after(20, machine.stop)


def writes_too_much(machine: Machine) -> None:
    machine.after(16, lambda: machine.write_serial("x" * 1_300_000 + "\n"))


def test_a_vm_that_is_taken_away_ends_the_build_and_is_cleaned_up(shop: Workshop) -> None:
    shop.sandbox.cloud.on_boot(stops_itself)
    with pytest.raises(BuildFailed, match="stopped before it was done"):
        shop.build(shop.plan("europe-west4-docker.pkg.dev/acme-ai/serving/reranker:2.1.0")).run()
    assert shop.left() == {}


def test_lost_serial_text_is_noticed_and_the_build_goes_on(shop: Workshop) -> None:
    shop.sandbox.cloud.on_boot(writes_too_much)
    shop.build(shop.plan()).run()
    assert [about for name, about in shop.events if name == "lost"]


def test_nothing_of_the_plan_is_read_by_a_shell_and_no_secret_is_in_the_request(shop: Workshop) -> None:
    plan = shop.plan()
    body = json.dumps(vm_body(plan, "script"))
    assert decode(encode(job_of(plan))) == job_of(plan)
    assert "password" not in body.lower() and "bearer" not in body.lower()
    disks = json.loads(body)["disks"]
    assert [(d["boot"], d["autoDelete"]) for d in disks] == [(True, True), (False, True)]
    assert disks[1]["deviceName"] == DEVICE
    assert json.loads(body)["scheduling"]["instanceTerminationAction"] == "DELETE"
    assert json.loads(body)["shieldedInstanceConfig"]["enableSecureBoot"] is True
    assert "accessConfigs" not in json.loads(body)["networkInterfaces"][0]
    assert json.loads(body)["serviceAccounts"] == []


def test_a_packed_plan_that_was_changed_is_refused(shop: Workshop) -> None:
    packed = pack_plan(shop.plan())
    for text in ("", "!", packed[:40], packed[:-8]):
        with pytest.raises(BadUsage):
            unpack_plan(text, "imagecache-1")


def test_a_reference_that_can_not_be_resolved_stops_the_plan(shop: Workshop) -> None:
    with pytest.raises(UserError) as caught:
        shop.plan("docker.io/library/redis:7.4.1-alpine", "docker.io/nobody/nothing:1")
    assert caught.value.message == "nobody/nothing:1 can't be resolved: docker.io/nobody/nothing:1 is not there"
    assert caught.value.hint == "leave it out with --drop 'docker.io/nobody/nothing*'"
