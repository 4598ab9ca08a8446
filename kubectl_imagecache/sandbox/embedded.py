"""A whole sandbox in this process: Kubernetes, GKE, Compute and registries on loopback ports."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType

from kubectl_imagecache.sandbox import scenarios
from kubectl_imagecache.sandbox.autoscaler import Autoscaler
from kubectl_imagecache.sandbox.builder_vm import builder_vm
from kubectl_imagecache.sandbox.catalog import Catalog
from kubectl_imagecache.sandbox.clock import EPOCH, VirtualClock
from kubectl_imagecache.sandbox.cloud import Cloud
from kubectl_imagecache.sandbox.control import Control
from kubectl_imagecache.sandbox.http import Service, World
from kubectl_imagecache.sandbox.kube.cluster import KubeCluster
from kubectl_imagecache.sandbox.pool_autoscaler import PoolAutoscaler
from kubectl_imagecache.sandbox.reader_vm import reader_vm
from kubectl_imagecache.sandbox.real_vm import RealVms
from kubectl_imagecache.sandbox.registry import Access, Registry
from kubectl_imagecache.sandbox.scenarios import shelf
from kubectl_imagecache.sandbox.scenarios.stage import LOCATION, PROJECT, Stage
from kubectl_imagecache.sandbox.snapshotter_log import SnapshotterLog

RULES_APIS = ("SERVICEUSAGE", "IAM", "ORGPOLICY", "SECRETMANAGER")
"""gcloud's names of further APIs that the Compute port answers."""
HISTORY = timedelta(days=40)
"""How long before its present a scenario's time begins."""
ACCESS = Access(
    anonymous_token=frozenset({"docker.io", "ghcr.io"}),
    passwords={shelf.ACME.partition("/")[0]: shelf.PASSWORD},
    denied=frozenset({shelf.PLUGINS}),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What sandbox is wanted."""

    scenario: str = scenarios.DEFAULT
    seed: int = 0
    """Decides every random thing; the same settings give the same sandbox."""
    nodes: int = 1000
    """For scenarios of variable size."""
    pods: int = 20_000
    speed: float = 0.0
    """Virtual seconds for each real one; 0: time stands still unless told to advance."""
    now: datetime = EPOCH
    """The present that the scenario leads up to."""
    disks: Path | None = None
    """Where disks that are built for real are kept; None: they go with the sandbox."""


class Sandbox:
    """A running sandbox, as a context manager; raises BadUsage for a scenario that doesn't exist."""

    def __init__(self, settings: Settings = Settings(), folder: Path | None = None) -> None:
        scenarios.check(settings.scenario)
        self.settings = settings
        self.world = World(VirtualClock(settings.now - HISTORY, settings.speed))
        self.catalog = Catalog(settings.seed)
        self.kube = KubeCluster(self.world, self.catalog, seed=settings.seed)
        self.cloud = Cloud(self.world, self.kube, project=PROJECT)
        self._vms = RealVms(lambda: settings.disks or self._require_folder() / "disks")
        self.cloud.on_boot(builder_vm(self.catalog, self._vms))
        self.cloud.on_boot(reader_vm(self.catalog, self._vms))
        self.cluster = settings.scenario
        self.autoscaler = Autoscaler(self.world, self.kube, self.cloud, self.cluster)
        self._given_folder = folder
        self._folder: Path | None = None
        self._services: dict[str, Service] = {}

    @property
    def context(self) -> str:
        """The kubeconfig's context, named as `gcloud container clusters get-credentials` does."""
        return f"gke_{PROJECT}_{LOCATION}_{self.cluster}"

    def start(self) -> None:
        """Build the scenario, listen, write the kubeconfig."""
        shelf.stock(self.catalog)
        self.cloud.add_cluster(self.cluster, LOCATION)
        stage = Stage(self.world, self.catalog, self.kube, self.cloud, self.cluster, self.settings.now)
        stage.nodes, stage.pods = self.settings.nodes, self.settings.pods
        with self.world.lock:
            scenarios.build(self.settings.scenario, stage)
            if stage.autoscaled:
                path = f"projects/{PROJECT}/locations/{LOCATION}/clusters/{self.cluster}"
                PoolAutoscaler(self.kube, self.cloud, path)
        self._listen()
        self._write_configuration()

    def stop(self) -> None:
        """Close the ports, end what runs for real, and remove the private folder."""
        self._vms.stop()
        with self.world.changed:
            self.world.closing = True
            self.world.changed.notify_all()
        # Side by side: each waits for its server's loop to look up, up to 50 ms.
        stops = [threading.Thread(target=service.stop) for service in self._services.values()]
        for thread in stops:
            thread.start()
        for thread in stops:
            thread.join()
        self._services.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Sandbox:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def url(self, service: str) -> str:
        """Where `kube`, `gke`, `compute` or `registry` is: `http://127.0.0.1:PORT`."""
        return self._services[service].url

    def tick(self) -> None:
        """Let virtual time catch up with the real one, and tell those who watch."""
        with self.world.lock:
            self.world.clock.catch_up()
            self.world.changed.notify_all()

    def env(self) -> dict[str, str]:
        """The variables that make kubectl, gcloud and this program talk to the sandbox."""
        folder = self._require_folder()
        return {
            "KUBECONFIG": str(folder / "kubeconfig"),
            "KUBECACHEDIR": str(folder / "kube-cache"),
            "CLOUDSDK_CONFIG": str(folder / "gcloud"),
            "CLOUDSDK_CORE_PROJECT": PROJECT,
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER": f"{self.url('gke')}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{self.url('compute')}/compute/v1/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{self.url('compute')}/storage/v1/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER": f"{self.url('compute')}/",
            **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}": f"{self.url('compute')}/" for api in RULES_APIS},
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": f"{self.url('logging')}/",
            "DOCKER_CONFIG": str(folder / "docker"),
            "KUBECTL_IMAGECACHE_REGISTRY_MIRRORS": f"*={self.url('registry')}",
            "KUBECTL_IMAGECACHE_NOW": self.world.clock.now().isoformat(),
            "KUBECTL_IMAGECACHE_SANDBOX_CONTROL": self.url("kube"),
        }

    def _listen(self) -> None:
        about = {"scenario": self.settings.scenario, "seed": self.settings.seed, "speed": self.settings.speed}
        control = Control(self.world, self.kube.handle, about, lambda: self.kube.version)
        registry = Registry(self.world, self.catalog, ACCESS)
        log = SnapshotterLog(self.kube, self.catalog, PROJECT, LOCATION, self.cluster)
        for name, handler, error in (
            ("logging", log.handle, self.cloud.error),
            ("kube", control.handle, self.kube.error),
            ("gke", self.cloud.handle_gke, self.cloud.error),
            ("compute", self.cloud.handle_compute, self.cloud.error),
            ("registry", registry.handle, registry.error),
        ):
            self._services[name] = Service(name, self.world, handler, error)
            self._services[name].start()

    def _write_configuration(self) -> None:
        folder = self._require_folder()
        _write_json(folder / "kubeconfig", _kubeconfig(self.context, self.url("kube")))
        (folder / "docker").mkdir(mode=0o700)
        auths = {
            host: {"auth": b64encode(":".join(login).encode()).decode()} for host, login in ACCESS.passwords.items()
        }
        _write_json(folder / "docker" / "config.json", {"auths": auths})

    def _require_folder(self) -> Path:
        if self._folder is None:
            if self._given_folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="imagecache-sandbox-"))
            else:
                self._given_folder.mkdir(mode=0o700)
                self._folder = self._given_folder
        return self._folder


def _kubeconfig(context: str, server: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {"server": server}}],
        "users": [{"name": context, "user": {}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
        "current-context": context,
    }


def _write_json(path: Path, content: object) -> None:
    """JSON is YAML too."""
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))
