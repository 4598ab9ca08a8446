"""The Google permissions that each command needs, and the least predefined roles that hold them."""

from __future__ import annotations

from dataclasses import dataclass

VIEWER = "roles/compute.viewer"
INSTANCE_ADMIN = "roles/compute.instanceAdmin.v1"
STORAGE_ADMIN = "roles/compute.storageAdmin"
CLUSTER_VIEWER = "roles/container.clusterViewer"


@dataclass(frozen=True, slots=True)
class Grant:
    """Permissions on a project."""

    role: str
    """The least predefined role that holds them: https://cloud.google.com/compute/docs/access/iam."""
    permissions: tuple[str, ...]


_VM = (
    "compute.disks.create",
    "compute.disks.setLabels",
    "compute.images.get",
    "compute.instances.create",
    "compute.instances.delete",
    "compute.instances.get",
    "compute.instances.getSerialPortOutput",
    "compute.instances.setLabels",
    "compute.instances.setMetadata",
    "compute.subnetworks.use",
    "compute.zoneOperations.get",
)
"""To make a VM with a disk beside it, to watch it and to delete it."""
BUILD = Grant(
    INSTANCE_ADMIN,
    (
        *_VM,
        "compute.disks.useReadOnly",
        "compute.globalOperations.get",
        "compute.images.create",
        "compute.images.setLabels",
        "compute.images.update",
        "compute.instances.stop",
    ),
)
"""What a build does; `rebuild` asks beforehand whether the caller has it."""
READ = Grant(INSTANCE_ADMIN, (*_VM, "compute.images.useReadOnly"))
"""What a reading of a disk image does, on a VM of its own; `inspect` and `verify` ask beforehand."""
ADOPT = Grant(STORAGE_ADMIN, ("compute.globalOperations.get", "compute.images.setLabels", "compute.images.update"))
"""What writing a record to a disk image does; `inspect --adopt` asks beforehand."""
_LOOK_AT_VM = (
    "compute.diskTypes.get",
    "compute.machineTypes.get",
    "compute.networks.get",
    "compute.regions.get",
    "compute.subnetworks.get",
    "compute.zones.get",
)
"""What is looked at before a temporary VM is made; instanceAdmin.v1 holds it too."""
_LOOK = (*_LOOK_AT_VM, "compute.images.list", "compute.instances.list", "compute.projects.get")
"""What `rebuild` looks at beforehand."""
_READER = Grant(INSTANCE_ADMIN, tuple(sorted({*READ.permissions, *_LOOK_AT_VM})))
_TRACES = ("compute.disks.list", "compute.images.list", "compute.instances.list")
_READ_POOLS = Grant(CLUSTER_VIEWER, ("container.clusters.get",))
_READ_DISK_IMAGES = Grant(VIEWER, ("compute.images.get", "compute.images.getFromFamily"))
_FIND_USERS = (
    Grant(CLUSTER_VIEWER, ("container.clusters.list",)),
    Grant(VIEWER, ("compute.disks.list", "compute.instanceTemplates.list")),
)

COMMANDS: dict[str, tuple[Grant, ...]] = {
    "status, list, diff": (_READ_POOLS, _READ_DISK_IMAGES),
    "rebuild POOL": (
        _READ_POOLS,
        _READ_DISK_IMAGES,
        Grant(INSTANCE_ADMIN, tuple(sorted({*BUILD.permissions, *_LOOK}))),
    ),
    "rebuild --image": (Grant(INSTANCE_ADMIN, tuple(sorted({*BUILD.permissions, *_LOOK}))),),
    "rebuild --abort, disks sweep": (
        Grant(
            INSTANCE_ADMIN,
            tuple(sorted({*_TRACES, "compute.disks.delete", "compute.images.delete", "compute.instances.delete"})),
        ),
    ),
    "inspect, verify": (_READER,),
    "inspect --adopt": (_READER, ADOPT),
    "disks list": (Grant(VIEWER, _TRACES),),
    "disks describe": (_READ_DISK_IMAGES, *_FIND_USERS),
    "disks gc": (*_FIND_USERS, Grant(VIEWER, ("compute.images.list",))),
    "disks gc --yes": (
        *_FIND_USERS,
        Grant(
            STORAGE_ADMIN,
            (
                "compute.globalOperations.get",
                "compute.images.delete",
                "compute.images.deprecate",
                "compute.images.get",
                "compute.images.list",
                "compute.images.setLabels",
            ),
        ),
    ),
}
"""By command, on the project that is read or built in; those of `roll` and `bench` are in docs/permissions.md."""
BESIDES = (
    ("iam.serviceAccounts.actAs", "roles/iam.serviceAccountUser", "on the VM's service account, if it has one"),
    ("storage.objects.create", "roles/storage.objectUser", "on the bucket of `--contents-url` or `--gcs-path`"),
    ("storage.objects.get", "roles/storage.objectViewer", "to read records there, for every command that shows them"),
    ("storage.objects.delete", "roles/storage.objectUser", "to take a record away with its build or disk image"),
    ("serviceusage.services.get", "roles/serviceusage.serviceUsageViewer", "to see whether APIs are enabled"),
    ("orgpolicy.policy.get", "roles/orgpolicy.policyViewer", "to see the organization's policies"),
    ("secretmanager.versions.get", "roles/secretmanager.viewer", "to see that a registry's secret is there"),
    ("iam.serviceAccounts.get", "roles/iam.serviceAccountViewer", "to see that the VM's account may be used"),
)
"""Of some commands: permission, role, what for. What can't be seen for want of one is left, which is said."""


def permissions_of(command: str) -> frozenset[str]:
    """Every permission on the project that COMMAND, a key of COMMANDS, needs."""
    return frozenset(p for grant in COMMANDS[command] for p in grant.permissions)


def text() -> str:
    """The commands as a document: copy-and-paste lines of gcloud for predefined roles, and for an exact role."""
    parts = []
    for command, grants in COMMANDS.items():
        roles = list(dict.fromkeys(grant.role for grant in grants))
        lines = [
            f"    gcloud projects add-iam-policy-binding PROJECT --member user:YOU --role {role}" for role in roles
        ]
        exact = ",".join(sorted(permissions_of(command)))
        custom = f"    gcloud iam roles create ROLE --project PROJECT --permissions {exact}"
        parts.append(f"### {command}\n\n" + "\n".join(lines) + f"\n\nor, no more than is needed:\n\n{custom}\n")
    parts.append("### Besides, for `rebuild`, `inspect`, `verify` and `disks`\n\n")
    parts[-1] += "| Permission | Role | |\n|---|---|---|\n"
    parts[-1] += "".join(f"| `{permission}` | `{role}` | {why} |\n" for permission, role, why in BESIDES)
    return "\n".join(parts)
