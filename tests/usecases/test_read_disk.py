from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from kubectl_imagecache.core.build_requests import reader_body
from kubectl_imagecache.core.errors import UserError
from kubectl_imagecache.sandbox.cloud import Machine
from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.usecases.read_disk import ReadFailed
from kubectl_imagecache.usecases.rebuild import abort
from tests.usecases.builds import GOOGLES, IMAGES, Killed, MortalHttp, Workshop, workshop
from tests.usecases.test_rebuild import FAULTS


@contextmanager
def googles() -> Iterator[Workshop]:
    with workshop() as shop:
        shop.add_googles()
        yield shop


@pytest.fixture
def shop() -> Iterator[Workshop]:
    with googles() as found:
        yield found


def requests_of_a_whole_reading() -> int:
    with googles() as shop:
        http = MortalHttp()
        shop.reading(GOOGLES, http).run()
        return http.sent


def test_a_reading_says_what_is_on_the_disk_and_leaves_nothing(shop: Workshop) -> None:
    found = shop.reading(GOOGLES).run()
    (image, managed) = found.images
    assert image.reference == IMAGES[0]
    assert (managed.reference[:7], managed.digest) == ("sha256:", image.digest)
    chain_ids = shop.sandbox.cloud.contents("projects/sandbox-project/global/images/google-built")
    assert {layer.chain_id for layer in found.layers} == chain_ids
    assert (found.findings, found.record, found.contents) == ((), None, False)
    assert shop.left() == {}
    assert [about["step"] for name, about in shop.events if name == "step"] == [
        "create a VM that reads the disk image",
        "wait for the reading",
        "delete the VM",
    ]


def test_the_reader_can_neither_write_to_the_disk_nor_use_an_account_and_dies_by_itself(shop: Workshop) -> None:
    plan = shop.reading(GOOGLES, contents=True).plan
    body = json.loads(json.dumps(reader_body(plan, "script")))
    boot, disk = body["disks"]
    assert (disk["mode"], disk["autoDelete"], boot["autoDelete"]) == ("READ_ONLY", True, True)
    assert disk["initializeParams"]["sourceImage"] == "projects/sandbox-project/global/images/google-built"
    assert (body["serviceAccounts"], body["scheduling"]["instanceTerminationAction"]) == ([], "DELETE")
    assert "accessConfigs" not in body["networkInterfaces"][0]
    labels = [body["labels"], boot["initializeParams"]["labels"], disk["initializeParams"]["labels"]]
    assert labels == [{"imagecache-build": plan.name}] * 3


@pytest.mark.parametrize("performed", [False, True], ids=["before it is sent", "with the answer lost"])
def test_killed_at_any_request_a_second_run_ends_the_reading(performed: bool) -> None:
    for at in range(1, requests_of_a_whole_reading() + 1):
        with googles() as shop:
            with pytest.raises(Killed):
                shop.reading(GOOGLES, MortalHttp(at, performed)).run()
            assert len(shop.reading(GOOGLES).run().images) == 2, at
            assert shop.left() == {}, at


@pytest.mark.parametrize("performed", [False, True], ids=["before it is sent", "with the answer lost"])
def test_killed_at_any_request_an_abort_by_its_name_leaves_nothing(performed: bool) -> None:
    for at in range(1, requests_of_a_whole_reading() + 1):
        with googles() as shop:
            reading = shop.reading(GOOGLES, MortalHttp(at, performed))
            with pytest.raises(Killed):
                reading.run()
            shop.clock.sleep(10)
            if shop.left():
                assert abort(shop.compute(), reading.plan.build, shop.clock, lambda name, about: None), at
            assert shop.left() == {}, at
            assert shop.image(GOOGLES), at


def test_killed_and_forgotten_the_vm_and_its_disks_go_by_themselves(shop: Workshop) -> None:
    with pytest.raises(Killed):
        shop.reading(GOOGLES, MortalHttp(6)).run()
    assert set(shop.left()) == {"instances", "disks"}
    shop.clock.sleep(2400)
    assert shop.left() == {}


def test_a_passing_fault_at_any_request_in_turn_does_not_end_a_reading() -> None:
    for at in range(requests_of_a_whole_reading()):
        with googles() as shop:
            fault = replace(FAULTS[at % len(FAULTS)], service="compute", after=at)
            shop.sandbox.world.faults.rules.append(fault)
            assert len(shop.reading(GOOGLES).run().images) == 2, (at, fault)
            assert shop.left() == {}, (at, fault)


def test_a_refusal_at_any_request_in_turn_is_told_and_a_second_run_ends_the_reading() -> None:
    refusals = (403, 401, 404, 409, 412, 400)
    for at in range(requests_of_a_whole_reading()):
        with googles() as shop:
            faults = shop.sandbox.world.faults.rules
            faults.append(Fault(status=refusals[at % len(refusals)], service="compute", after=at, times=1))
            try:
                shop.reading(GOOGLES).run()
            except UserError as error:
                assert error.message, at
            faults.clear()
            assert len(shop.reading(GOOGLES).run().images) == 2, at
            assert shop.left() == {}, at


def floods(machine: Machine) -> None:
    """Pushes the first round of the report, and all before it, out of the serial port."""
    machine.after(17.01, lambda: machine.write_serial("x" * 1_300_000 + "\n"))


def stays_lost(machine: Machine) -> None:
    for number in range(20):
        machine.after(17.01 + 30 * number, lambda: machine.write_serial("x" * 1_100_000 + "\n"))


def test_a_report_that_is_lost_on_the_serial_port_comes_again(shop: Workshop) -> None:
    shop.sandbox.cloud.on_boot(floods)
    reading = shop.reading(GOOGLES)
    assert len(reading.run().images) == 2
    assert [about for name, about in shop.events if name == "lost"]


def test_a_report_that_stays_lost_is_a_clear_failure_that_leaves_nothing(shop: Workshop) -> None:
    shop.sandbox.cloud.on_boot(stays_lost)
    with pytest.raises(ReadFailed, match="gone before all of its report"):
        shop.reading(GOOGLES).run()
    assert shop.left() == {}


def test_a_vm_that_is_taken_away_is_told_and_cleaned_up(shop: Workshop) -> None:
    shop.sandbox.cloud.on_boot(lambda machine: machine.after(3, machine.stop))
    with pytest.raises(ReadFailed, match="stopped before it was done"):
        shop.reading(GOOGLES).run()
    assert shop.left() == {}


def test_a_ctrl_c_can_begin_to_clean_up(shop: Workshop) -> None:
    with pytest.raises(Killed):
        shop.reading(GOOGLES, MortalHttp(6)).run()
    assert shop.reading(GOOGLES).stop()
    shop.clock.sleep(60)
    assert shop.left() == {}
    assert not shop.reading(GOOGLES).stop()
