"""The resource kinds that the API serves, by group, version and plural."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Obj = dict[str, Any]
"""A Kubernetes object as JSON has it."""

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind in one version."""

    group: str
    """Empty for the core group."""
    version: str
    kind: str
    plural: str
    namespaced: bool
    short: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    custom: bool = False
    """Defined by a CustomResourceDefinition."""
    store: str = ""
    """Name of the table its objects lie in; kinds that share one are views of the same objects."""
    verbs: tuple[str, ...] = ALL_VERBS
    columns: tuple[tuple[str, str, str, int], ...] = field(default=())
    """A custom resource's printer columns: name, type, jsonPath, priority."""

    api_version: str = field(init=False)
    """`v1`, `apps/v1`."""
    resource: str = field(init=False)
    """`pods`, `deployments.apps`: the name in messages, and the default table."""
    table: str = field(init=False)
    """Where its objects lie."""

    def __post_init__(self) -> None:
        # Asked for at every access to an object: worth keeping.
        resource = f"{self.plural}.{self.group}" if self.group else self.plural
        object.__setattr__(self, "api_version", f"{self.group}/{self.version}" if self.group else self.version)
        object.__setattr__(self, "resource", resource)
        object.__setattr__(self, "table", self.store or resource)


_STATUS = ("status",)
_SCALE = ("status", "scale")
_ALL = ("all",)

NODE = Kind("", "v1", "Node", "nodes", False, ("no",), _STATUS)
POD = Kind("", "v1", "Pod", "pods", True, ("po",), ("status", "eviction", "binding", "log"), _ALL)
EVENT = Kind("", "v1", "Event", "events", True, ("ev",))
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", False, ("ns",), ("status", "finalize"))
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases", True)
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments", True, ("deploy",), _SCALE, _ALL)
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets", True, ("rs",), _SCALE, _ALL)
STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets", True, ("sts",), _SCALE, _ALL)
DAEMON_SET = Kind("apps", "v1", "DaemonSet", "daemonsets", True, ("ds",), _STATUS, _ALL)
JOB = Kind("batch", "v1", "Job", "jobs", True, (), _STATUS, _ALL)
CRON_JOB = Kind("batch", "v1", "CronJob", "cronjobs", True, ("cj",), _STATUS, _ALL)
PDB = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, ("pdb",), _STATUS)
PVC = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, ("pvc",), _STATUS)
CRD = Kind(
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    False,
    ("crd", "crds"),
    _STATUS,
)
ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False, verbs=("create",)
)
PATCH_OPTIONS = Kind("meta.k8s.io", "v1", "PatchOptions", "", False, verbs=())
"""Of a patch's query: nothing but messages tell of it."""

CLUSTER_ROLE = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False)
CLUSTER_ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False)

BUILT_IN: tuple[Kind, ...] = (
    NODE,
    POD,
    EVENT,
    NAMESPACE,
    Kind("", "v1", "Service", "services", True, ("svc",), _STATUS, _ALL),
    Kind("", "v1", "ConfigMap", "configmaps", True, ("cm",)),
    Kind("", "v1", "Secret", "secrets", True),
    Kind("", "v1", "ServiceAccount", "serviceaccounts", True, ("sa",)),
    PVC,
    Kind("", "v1", "PersistentVolume", "persistentvolumes", False, ("pv",), _STATUS),
    DEPLOYMENT,
    REPLICA_SET,
    STATEFUL_SET,
    DAEMON_SET,
    JOB,
    CRON_JOB,
    PDB,
    LEASE,
    Kind("events.k8s.io", "v1", "Event", "events", True, ("ev",), store="events"),
    Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", False, ("sc",)),
    Kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False, ("pc",)),
    CRD,
    ACCESS_REVIEW,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
)


class Kinds:
    """The kinds served now: the built-in ones and those that CustomResourceDefinitions add."""

    def __init__(self) -> None:
        self._by_path: dict[tuple[str, str, str], Kind] = {(k.group, k.version, k.plural): k for k in BUILT_IN}

    def at(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind served under that path."""
        return self._by_path.get((group, version, plural))

    def of(self, obj: Obj) -> Kind | None:
        """The kind that an object says it is."""
        api_version, name = obj.get("apiVersion"), obj.get("kind")
        return next((k for k in self._by_path.values() if k.kind == name and k.api_version == api_version), None)

    def named(self, name: str) -> Kind:
        """By kind (`Pod`) or plural (`pods`, `deployments.apps`); the first group wins. Raise KeyError."""
        for kind in self._by_path.values():
            if name in (kind.kind, kind.plural, kind.resource):
                return kind
        raise KeyError(name)

    def all(self) -> Iterable[Kind]:
        """Every kind, core first."""
        return sorted(self._by_path.values(), key=lambda k: (k.group != "", k.group, k.version))

    def define(self, crd: Obj) -> None:
        """Serve what a CustomResourceDefinition defines."""
        for kind in _defined(crd):
            self._by_path[(kind.group, kind.version, kind.plural)] = kind

    def undefine(self, crd: Obj) -> None:
        """Serve it no more."""
        for kind in _defined(crd):
            self._by_path.pop((kind.group, kind.version, kind.plural), None)


def _defined(crd: Obj) -> Iterable[Kind]:
    spec = crd.get("spec", {})
    names = spec.get("names", {})
    for version in spec.get("versions", []):
        if not version.get("served", True):
            continue
        yield Kind(
            spec.get("group", ""),
            version["name"],
            names.get("kind", ""),
            names.get("plural", ""),
            spec.get("scope") == "Namespaced",
            tuple(names.get("shortNames", ())),
            _STATUS if "status" in version.get("subresources", {}) else (),
            tuple(names.get("categories", ())),
            custom=True,
            columns=tuple(
                (c["name"], c.get("type", "string"), c["jsonPath"], c.get("priority", 0))
                for c in version.get("additionalPrinterColumns", ())
            ),
        )


def gke_crds() -> list[Obj]:
    """The definitions that a GKE cluster brings along."""
    return [
        _crd("cloud.google.com", "v1", "ComputeClass", "computeclasses", ["cc", "ccs"]),
        _crd("node.gke.io", "v1", "GCPResourceAllowlist", "gcpresourceallowlists", []),
    ]


def _crd(group: str, version: str, kind: str, plural: str, short: list[str]) -> Obj:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower(), "shortNames": short}
    return {
        "apiVersion": CRD.api_version,
        "kind": CRD.kind,
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Cluster",
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
            ],
        },
    }
