from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from kubectl_imagecache.cli.sandbox_clock import work_clock
from kubectl_imagecache.cli.whoami import has_ended, identity
from kubectl_imagecache.clients.kube import Kube
from kubectl_imagecache.clients.kube.options import KubeOptions
from kubectl_imagecache.clients.kube.roll import Hold, RollKube
from kubectl_imagecache.core.errors import Unavailable, UserError
from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.http import Request, Response
from kubectl_imagecache.usecases.roll_lock import Lock, Locked, check_clock
from tests.usecases.roll_stage import settings


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settings()) as running:
        yield running


@dataclass
class Party:
    """Somebody who wants the lock, with a clock that is wrong by OFF_S."""

    sandbox: Sandbox
    home: Path
    who: str
    off_s: float = 0.0
    ended: frozenset[str] = frozenset()
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        env = {**self.sandbox.env(), "HOME": str(self.home)}
        self.time = work_clock(env)
        self.kube = RollKube(Kube.connect(KubeOptions(), env, self.home, self).transport)
        self.lock = Lock(self.kube, self, "web", self.who, lambda who: who in self.ended, self.told.append)

    def now(self) -> datetime:
        return self.time.now() + timedelta(seconds=self.off_s)

    def sleep(self, seconds: float) -> None:
        self.time.sleep(seconds)


def send(sandbox: Sandbox, method: str, body: object) -> Response:
    """Change the Lease from within the sandbox."""
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/imagecache-roll-web"
    headers = {"content-type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
    with sandbox.world.lock:
        return sandbox.kube.handle(Request(method, path, {}, headers, json.dumps(body).encode(), ""))


def keeps_renewing(sandbox: Sandbox, party: Party) -> None:
    """PARTY renews every 30 s of the sandbox's time, as one that lives does."""
    offset = timedelta(seconds=party.off_s)

    def again() -> None:
        renewed = {"spec": {"renewTime": f"{sandbox.world.clock.now() + offset:%Y-%m-%dT%H:%M:%S.%fZ}"}}
        assert send(sandbox, "PATCH", renewed).status == 200
        sandbox.world.clock.call_later(30, again)

    sandbox.world.clock.call_later(30, again)


def test_the_second_is_told_who_and_since_when(sandbox: Sandbox, tmp_path: Path) -> None:
    alice, bob = Party(sandbox, tmp_path, "alice@a/1"), Party(sandbox, tmp_path, "bob@b/2")
    alice.lock.take()
    since = alice.now().isoformat(timespec="seconds")
    alice.sleep(100)
    with pytest.raises(Locked, match=f"^alice@a/1 rolls web since {since.replace('+', '[+]')}$"):
        bob.lock.take()
    alice.lock.give()
    bob.lock.take()


def test_a_lock_whose_holder_died_elsewhere_is_taken_after_a_look(sandbox: Sandbox, tmp_path: Path) -> None:
    alice, bob = Party(sandbox, tmp_path, "alice@a/1"), Party(sandbox, tmp_path, "bob@b/2")
    alice.lock.take()
    bob.sleep(121)
    began = bob.now()
    bob.lock.take()
    assert (bob.now() - began).total_seconds() == 60
    assert bob.told == ["alice@a/1 held the lock of web and seems to be gone: 60 s to be sure"]
    alice.sleep(30)
    with pytest.raises(Locked, match="bob@b/2"):
        alice.lock.renew()


def test_a_lock_whose_holder_died_on_this_machine_is_taken_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    alice, bob = Party(sandbox, tmp_path, "x@a/1"), Party(sandbox, tmp_path, "x@a/2", ended=frozenset({"x@a/1"}))
    alice.lock.take()
    began = bob.now()
    bob.lock.take()
    assert (bob.now(), bob.told) == (began, [])


@pytest.mark.parametrize("off_s", [-7200.0, -130.0, 130.0, 7200.0])
def test_a_holder_whose_clock_is_wrong_keeps_the_lock_while_it_lives_and_no_longer(
    sandbox: Sandbox, tmp_path: Path, off_s: float
) -> None:
    alice, bob = Party(sandbox, tmp_path, "alice@a/1", off_s), Party(sandbox, tmp_path, "bob@b/2")
    alice.lock.take()
    with sandbox.world.lock:
        keeps_renewing(sandbox, alice)
    for _ in range(3):
        with pytest.raises(Locked, match="alice@a/1"):
            bob.lock.take()
        bob.sleep(300)


@pytest.mark.parametrize("off_s", [-7200.0, 7200.0])
def test_a_dead_holder_whose_clock_was_wrong_loses_the_lock(sandbox: Sandbox, tmp_path: Path, off_s: float) -> None:
    Party(sandbox, tmp_path, "alice@a/1", off_s).lock.take()
    bob = Party(sandbox, tmp_path, "bob@b/2")
    bob.sleep(1)
    bob.lock.take()
    assert bob.told


FAULTS = (
    Fault(kind="reset", applied=True),
    Fault(status=503, applied=True),
    Fault(kind="truncate"),
    Fault(kind="reset"),
    Fault(status=429),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.applied}")
def test_an_answer_that_is_lost_loses_no_lock(sandbox: Sandbox, tmp_path: Path, fault: Fault) -> None:
    alice, bob = Party(sandbox, tmp_path, "alice@a/1"), Party(sandbox, tmp_path, "bob@b/2")
    for method in ("POST", "PUT", "PUT"):
        fault.seen, fault.method, fault.path = 0, method, "leases"
        sandbox.world.faults.rules[:] = [fault]
        if method == "POST":
            alice.lock.take()
        else:
            alice.sleep(31)
            alice.lock.renew()
        assert fault.seen >= 1
        with pytest.raises(Locked, match="alice@a/1"):
            bob.lock.take()


def test_a_lease_that_somebody_deleted_is_made_again(sandbox: Sandbox, tmp_path: Path) -> None:
    alice, bob = Party(sandbox, tmp_path, "alice@a/1"), Party(sandbox, tmp_path, "bob@b/2")
    alice.lock.take()
    assert send(sandbox, "DELETE", {}).status == 200
    alice.sleep(31)
    alice.lock.renew()
    with pytest.raises(Locked, match="alice@a/1"):
        bob.lock.take()


def test_whoever_cannot_renew_stops_before_somebody_else_may_have_the_lock(sandbox: Sandbox, tmp_path: Path) -> None:
    alice = Party(sandbox, tmp_path, "alice@a/1")
    alice.lock.take()
    sandbox.world.faults.rules.append(Fault(kind="reset", path="leases", times=-1))
    alice.sleep(31)
    alice.lock.renew()
    alice.sleep(60)
    with pytest.raises(Unavailable):
        alice.lock.renew()
    sandbox.world.faults.rules.clear()
    alice.lock.renew()


def test_of_many_who_come_at_once_one_has_the_lock(sandbox: Sandbox, tmp_path: Path) -> None:
    parties = [Party(sandbox, tmp_path, f"p{number}@h/{number}") for number in range(6)]
    got: list[str] = []
    start = threading.Barrier(len(parties))

    def come(party: Party) -> None:
        start.wait()
        try:
            party.lock.take()
            got.append(party.who)
        except Locked:
            pass

    threads = [threading.Thread(target=come, args=(party,)) for party in parties]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [parties[0].kube.holder("web").who]


def test_a_holder_s_name_tells_whether_its_process_still_runs() -> None:
    me = identity()
    assert not has_ended(me)
    head, _, process = me.rpartition("/")
    assert has_ended(f"{head}/{2**22 + 1}-{process.partition('-')[2]}")
    for unknown in (f"{head}/{2**22 + 1}-other", f"x@elsewhere/{2**22 + 1}-{process.partition('-')[2]}", "", "bob"):
        assert not has_ended(unknown)


def test_a_hold_says_all_that_a_lease_does(sandbox: Sandbox, tmp_path: Path) -> None:
    kube, clock = Party(sandbox, tmp_path, "x").kube, work_clock(sandbox.env())
    wanted = Hold("x", clock.now(), clock.now(), "")
    written = kube.hold("web", wanted, 120)
    assert kube.holder("web") == written == Hold("x", wanted.since, wanted.renewed, written.version)


@pytest.mark.parametrize(
    ("off_s", "words"), [(0, ""), (-200, ""), (900, r"90\d s ahead of"), (-3600, r"3[56]\d\d s behind")]
)
def test_a_clock_that_is_far_from_the_clusters_is_told(
    sandbox: Sandbox, tmp_path: Path, off_s: float, words: str
) -> None:
    party = Party(sandbox, tmp_path, "me@here/1", off_s)
    party.lock.take()
    if not words:
        check_clock(party.kube, party)
        return
    with pytest.raises(UserError, match=rf"this machine's clock is {words} the cluster's"):
        check_clock(party.kube, party)
