"""A sandbox's cloud to build in, with clients that can be made to die at any request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kubectl_imagecache.clients.compute_build import BuildCompute
from kubectl_imagecache.clients.google_auth import GoogleAuth
from kubectl_imagecache.clients.google_http import GoogleHttp, places
from kubectl_imagecache.clients.http import Answer, Http
from kubectl_imagecache.clients.retry import Pace
from kubectl_imagecache.core.contents import ImageFacts
from kubectl_imagecache.core.errors import NotFound, UserError
from kubectl_imagecache.core.plan import BuildPlan, Vm
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.reading import ReadPlan
from kubectl_imagecache.core.references import ImageRef, parse
from kubectl_imagecache.core.wishes import Wishes
from kubectl_imagecache.sandbox.cloud import Held, Timing
from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.usecases.plan import Order, make_plan
from kubectl_imagecache.usecases.read_disk import Reading
from kubectl_imagecache.usecases.rebuild import Build

ZONE = "europe-west4-b"
PROJECT = "sandbox-project"
GOOGLES = "google-built"
IMAGES = ("docker.io/envoyproxy/envoy:v1.31.2", "docker.io/library/redis:7.4.1-alpine")


class Killed(BaseException):
    """The process is gone: nothing catches this."""


class MortalHttp(Http):
    """Http that dies before (or after, with the answer lost) its Nth request; a negative N never does."""

    def __init__(self, at: int = -1, performed: bool = False) -> None:
        super().__init__(pace=Pace(sleep=lambda seconds: None))
        self.sent = 0
        self._at, self._performed = at, performed

    def send(self, *args: Any, **more: Any) -> Answer:
        self.sent += 1
        if self.sent == self._at and not self._performed:
            raise Killed
        answer = super().send(*args, **more)
        if self.sent == self._at:
            raise Killed
        return answer


@dataclass(frozen=True)
class VirtualClock:
    sandbox: Sandbox

    def now(self) -> datetime:
        return self.sandbox.world.clock.now()

    def sleep(self, seconds: float) -> None:
        with self.sandbox.world.lock:
            self.sandbox.world.clock.advance(seconds)


@dataclass
class Workshop:
    """One sandbox, and the events of all builds in it."""

    sandbox: Sandbox
    events: list[tuple[str, Any]] = field(default_factory=list)

    def google(self, http: Http | None = None) -> GoogleHttp:
        return GoogleHttp(http or MortalHttp(), GoogleAuth(None), places(self.sandbox.env()))

    def compute(self, http: Http | None = None) -> BuildCompute:
        return BuildCompute(self.google(http), PROJECT)

    @property
    def clock(self) -> VirtualClock:
        return VirtualClock(self.sandbox)

    def plan(self, *images: str, taken: int = 0, **more: Any) -> BuildPlan:
        vm = Vm(PROJECT, ZONE, timeout_s=1800)
        wishes = Wishes(tuple(parse(image) for image in images or IMAGES))
        return make_plan(None, Order(wishes, vm, family="inference", **more), self.pin, taken)

    def pin(self, pairs: Any) -> dict[tuple[ImageRef, str], tuple[str, ImageFacts] | UserError]:
        found: dict[tuple[ImageRef, str], tuple[str, ImageFacts] | UserError] = {}
        for ref, platform in pairs:
            info = self.sandbox.catalog.resolve(str(ref), platform.split("/")[1])
            facts = info and self.sandbox.catalog.facts(f"{ref.name}@{info.digest}", platform.split("/")[1])
            found[ref, platform] = (info.digest, facts) if info and facts else NotFound(f"{ref} is not there")
        return found

    def build(self, plan: BuildPlan, http: Http | None = None) -> Build:
        return Build(
            self.compute(http),
            plan,
            self.clock,
            lambda name, about: self.events.append((name, about)),
            first_wait_s=3.0,
        )

    def reading(self, name: str, http: Http | None = None, **more: Any) -> Reading:
        image = self.image(name)
        vm = Vm(PROJECT, ZONE, disk_type="pd-balanced", timeout_s=1800)
        plan = ReadPlan(DiskImageRef(PROJECT, name), str(image["id"]), "amd64", vm, **more)
        return Reading(
            self.compute(http),
            plan,
            self.clock,
            lambda name, about: self.events.append((name, about)),
            first_wait_s=3.0,
        )

    def add_googles(self, name: str = GOOGLES, *images: str) -> None:
        """A disk image without a record, as Google's builder leaves it."""
        cached = tuple(self.sandbox.catalog.cached(image, "amd64") for image in images or IMAGES[:1])
        chain_ids = frozenset(layer.chain_id for image in cached for layer in image.layers)
        with self.sandbox.world.lock:
            self.sandbox.cloud.add_image({"name": name}, Held(chain_ids, cached))

    def left(self) -> dict[str, list[str]]:
        """Everything in the cloud that a build has made, by kind."""
        found: dict[str, list[str]] = {}
        for path, items in self.sandbox.cloud.state.collections.items():
            kind = path.rpartition("/")[2]
            if kind in ("instances", "disks", "images"):
                made = [name for name, item in items.items() if "imagecache-build" in item.get("labels", {})]
                if mine := [
                    name for name in made if str(items[name]["labels"]["imagecache-build"])[:11] == "imagecache-"
                ]:
                    found[kind] = sorted(mine)
        return found

    def image(self, name: str) -> dict[str, Any]:
        return self.sandbox.cloud.state.find(f"projects/{PROJECT}/global/images/{name}") or {}


@contextmanager
def workshop() -> Iterator[Workshop]:
    sandbox = Sandbox(Settings(scenario="empty"))
    # Each kind of wait once or twice is enough.
    sandbox.cloud.state.timing = Timing(compute_s=2, boot_s=4, stop_s=4, image_s=5)
    with sandbox:
        yield Workshop(sandbox)
