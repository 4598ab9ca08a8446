"""From a GKE cluster to the kubeconfig context that leads to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kubectl_imagecache.clients.http import split
from kubectl_imagecache.clients.kube.client import Kube
from kubectl_imagecache.clients.kube.kubeconfig import Merged, find_files, merge
from kubectl_imagecache.clients.kube.options import KubeOptions
from kubectl_imagecache.clients.target import ClusterSummary
from kubectl_imagecache.core.errors import NotFound


@dataclass(frozen=True, slots=True)
class Contexts:
    """The contexts of the user's kubeconfig."""

    merged: Merged
    options: KubeOptions
    env: Mapping[str, str]

    @classmethod
    def read(cls, options: KubeOptions, env: Mapping[str, str] = os.environ, home: Path | None = None) -> Contexts:
        """Those of the files that OPTIONS and ENV name, none where there is no file.

        Raises NotFound for a missing --kubeconfig, BadAnswer for a broken file.
        """
        return cls(merge(find_files(options, env, home or Path.home())), options, env)

    def connect(self, cluster: ClusterSummary) -> Kube:
        """A connection to CLUSTER: by the context that gcloud would name for it, else by its server's address.

        Raises NotFound where no context leads there, and what Kube.connect raises.
        """
        name = f"gke_{cluster.project}_{cluster.location}_{cluster.name}"
        if name not in self.merged.sections["contexts"]:
            name = next(
                (n for n, context in self.merged.sections["contexts"].items() if self._leads(context, cluster)), ""
            )
        if not name:
            raise NotFound(
                "no kubeconfig context leads there",
                f"gcloud container clusters get-credentials {cluster.name} --location {cluster.location}"
                f" --project {cluster.project}",
            )
        return Kube.connect(KubeOptions(context=name, kubeconfig=self.options.kubeconfig), self.env)

    def _leads(self, context: Mapping[str, object], cluster: ClusterSummary) -> bool:
        entry = self.merged.sections["clusters"].get(str(context.get("cluster") or ""), {})
        server = str(entry.get("server") or "")
        host = split(server if "//" in server else f"//{server}").hostname or ""
        return bool(host) and host.lower() in cluster.endpoints
