"""A rolled pool as the gcloud command that makes it."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from kubectl_imagecache.core.emit import EFFECTS, Replacement

Json = dict[str, Any]
_OUTPUT_ONLY = (
    *("name", "initialNodeCount", "selfLink", "status", "statusMessage", "conditions", "instanceGroupUrls"),
    *("podIpv4CidrSize", "updateInfo", "etag", "kubeletCertInfo"),
)
_TEXTS = {
    "machineType": "machine-type",
    "diskSizeGb": "disk-size",
    "diskType": "disk-type",
    "imageType": "image-type",
    "serviceAccount": "service-account",
    "minCpuPlatform": "min-cpu-platform",
    "bootDiskKmsKey": "boot-disk-kms-key",
    "nodeGroup": "node-group",
    "localSsdCount": "local-ssd-count",
    "maxRunDuration": "max-run-duration",
}
"""Fields of the node config whose flag takes them as they are."""
_SWITCHES = {
    "spot": "spot",
    "preemptible": "preemptible",
    "flexStart": "flex-start",
    "enableConfidentialStorage": "enable-confidential-storage",
}
_ENABLED = {
    "gcfsConfig": "enable-image-streaming",
    "gvnic": "enable-gvnic",
    "fastSocket": "enable-fast-socket",
    "confidentialNodes": "enable-confidential-nodes",
}
"""Fields that hold `{"enabled": true}` and nothing else that a flag could say."""
_DELIMITERS = (",", ";", "|", "#", "~", "@@", ":::", "%%%")


def gcloud(what: Replacement) -> str:
    """The command, a flag a line, quoted for a shell, under comments that say what no flag carries."""
    left: Json = copy.deepcopy({k: v for k, v in what.pool.items() if k not in _OUTPUT_ONLY})
    config: Json = left.get("config") or {}
    flags = [
        f"--project={what.project}",
        f"--location={what.location}",
        f"--cluster={what.cluster}",
        f"--num-nodes={what.count}",
        *_pool_flags(left),
        *_config_flags(config),
        *_machine_flags(config),
    ]
    config.pop("resourceLabels", None)
    config.pop("secondaryBootDisks", None)
    flags += [_dict("labels", what.labels)] if what.labels else []
    for image, mode in what.disks:
        flags.append(_dict("secondary-boot-disk", {"disk-image": image} | ({"mode": mode} if mode else {})))
    lines = [f"# Makes node pool {_comment(what.name)} as a roll of {_comment(what.old)} does."]
    lines += [f"# gcloud has no flag that this program knows for: {_comment(path)}" for path in _paths(left)]
    command = ["gcloud container node-pools create " + shlex.quote(what.name)]
    command += ["    " + shlex.quote(flag) for flag in flags]
    return "\n".join(lines) + "\n" + " \\\n".join(command) + "\n"


def _pool_flags(left: Json) -> Iterator[str]:
    """Flags for what stands beside the node config; what they say is taken out of LEFT."""
    if locations := left.pop("locations", None):
        yield _list("node-locations", locations)
    if version := left.pop("version", None):
        yield f"--node-version={version}"
    management = left.get("management") or {}
    for key, flag in (("autoRepair", "enable-autorepair"), ("autoUpgrade", "enable-autoupgrade")):
        yield f"--{flag}" if management.pop(key, False) else f"--no-{flag}"
    management.pop("upgradeOptions", None)
    if pods := (left.get("maxPodsConstraint") or {}).pop("maxPodsPerNode", None):
        yield f"--max-pods-per-node={pods}"
    scaling = left.get("autoscaling") or {}
    if scaling.pop("enabled", False):
        yield "--enable-autoscaling"
        for key, flag in (
            ("minNodeCount", "min-nodes"),
            ("maxNodeCount", "max-nodes"),
            ("totalMinNodeCount", "total-min-nodes"),
            ("totalMaxNodeCount", "total-max-nodes"),
            ("locationPolicy", "location-policy"),
        ):
            if key in scaling:
                yield f"--{flag}={scaling.pop(key)}"
    upgrade = left.get("upgradeSettings") or {}
    if upgrade.get("strategy", "SURGE") == "SURGE":
        if upgrade.pop("strategy", None):
            yield "--enable-surge-upgrade"
        surge, unavailable = (upgrade.pop(key, None) for key in ("maxSurge", "maxUnavailable"))
        if surge is not None or unavailable is not None:  # gcloud takes both or neither.
            yield f"--max-surge-upgrade={surge or 0}"
            yield f"--max-unavailable-upgrade={unavailable or 0}"
    placement = left.get("placementPolicy") or {}
    for key, flag in (("type", "placement-type"), ("policyName", "placement-policy"), ("tpuTopology", "tpu-topology")):
        if key in placement:
            yield f"--{flag}={placement.pop(key)}"
    if (left.get("queuedProvisioning") or {}).pop("enabled", False):
        yield "--enable-queued-provisioning"
    yield from _network_flags(left.get("networkConfig") or {})


def _network_flags(network: Json) -> Iterator[str]:
    # What GKE says of a range that exists: its name is what counts.
    for key in ("createPodRange", "podIpv4CidrBlock", "podIpv4RangeUtilization", "networkTierConfig"):
        network.pop(key, None)
    if range_name := network.pop("podRange", None):
        yield f"--pod-ipv4-range={range_name}"
    private = network.pop("enablePrivateNodes", None)
    if private is not None:
        yield "--enable-private-nodes" if private else "--no-enable-private-nodes"
    for one in network.pop("additionalNodeNetworkConfigs", None) or ():
        yield _dict("additional-node-network", one)
    for one in network.pop("additionalPodNetworkConfigs", None) or ():
        names = {"subnetwork": "subnetwork", "secondaryPodRange": "pod-ipv4-range"}
        limit = (one.get("maxPodsPerNode") or {}).get("maxPodsPerNode")
        found = {flag: one[key] for key, flag in names.items() if key in one}
        yield _dict("additional-pod-network", found | ({"max-pods-per-node": limit} if limit else {}))
    if tier := (network.get("networkPerformanceConfig") or {}).pop("totalEgressBandwidthTier", None):
        yield f"--network-performance-configs=total-egress-bandwidth-tier={tier}"


def _config_flags(config: Json) -> Iterator[str]:
    for key, flag in _TEXTS.items():
        if key in config:
            yield f"--{flag}={config.pop(key)}{'GB' if key == 'diskSizeGb' else ''}"
    for key, flag in _SWITCHES.items():
        if config.pop(key, False):
            yield f"--{flag}"
    for key, flag in _ENABLED.items():
        if (config.get(key) or {}).pop("enabled", False):
            yield f"--{flag}"
    for key, flag in (("oauthScopes", "scopes"), ("tags", "tags"), ("storagePools", "storage-pools")):
        if config.get(key):
            yield _list(flag, config.pop(key))
    for key, flag in (("labels", "node-labels"), ("metadata", "metadata")):
        if config.get(key):
            yield _dict(flag, config.pop(key))
    tags = config.get("resourceManagerTags") or {}
    if tags.get("tags"):
        yield _dict("resource-manager-tags", tags.pop("tags"))
    taints = {
        str(one.get("key")): f"{one.get('value') or ''}:{EFFECTS.get(str(one.get('effect')), one.get('effect'))}"
        for one in config.get("taints") or ()
    }
    # One key with two effects is more than the flag can say.
    if taints and len(taints) == len(config["taints"]):
        config.pop("taints")
        yield _dict("node-taints", taints)
    config.pop("effectiveCgroupMode", None)


def _machine_flags(config: Json) -> Iterator[str]:
    shielded = config.get("shieldedInstanceConfig") or {}
    if shielded:
        secure, watched = (shielded.pop(key, False) for key in ("enableSecureBoot", "enableIntegrityMonitoring"))
        yield "--shielded-secure-boot" if secure else "--no-shielded-secure-boot"
        yield "--shielded-integrity-monitoring" if watched else "--no-shielded-integrity-monitoring"
    if mode := (config.get("workloadMetadataConfig") or {}).pop("mode", None):
        yield f"--workload-metadata={mode}"
    if variant := ((config.get("loggingConfig") or {}).get("variantConfig") or {}).pop("variant", None):
        yield f"--logging-variant={variant}"
    features = config.get("advancedMachineFeatures") or {}
    if threads := features.pop("threadsPerCore", None):
        yield f"--threads-per-core={threads}"
    if features.pop("enableNestedVirtualization", False):
        yield "--enable-nested-virtualization"
    if kind := (config.get("sandboxConfig") or {}).pop("type", None):
        yield f"--sandbox=type={str(kind).lower()}"
    ssds = config.get("ephemeralStorageLocalSsdConfig") or {}
    if ssds.get("localSsdCount"):
        yield f"--ephemeral-storage-local-ssd=count={ssds.pop('localSsdCount')}"
    if len(config.get("accelerators") or ()) == 1:
        yield from _accelerator(config["accelerators"][0])
    yield from _reservation(config)


def _accelerator(one: Json) -> Iterator[str]:
    said: dict[str, Any] = {"type": one.pop("acceleratorType", "")}
    if count := one.pop("acceleratorCount", None):
        said["count"] = count
    if size := one.pop("gpuPartitionSize", None):
        said["gpu-partition-size"] = size
    sharing = one.get("gpuSharingConfig") or {}
    if strategy := sharing.pop("gpuSharingStrategy", None):
        said["gpu-sharing-strategy"] = str(strategy).lower().replace("_", "-")
    if clients := sharing.pop("maxSharedClientsPerGpu", None):
        said["max-shared-clients-per-gpu"] = clients
    if driver := (one.get("gpuDriverInstallationConfig") or {}).pop("gpuDriverVersion", None):
        said["gpu-driver-version"] = {"INSTALLATION_DISABLED": "disabled"}.get(driver, str(driver).lower())
    yield _dict("accelerator", said)


def _reservation(config: Json) -> Iterator[str]:
    affinity = config.get("reservationAffinity") or {}
    kind, values = affinity.get("consumeReservationType"), affinity.get("values") or []
    if kind == "SPECIFIC_RESERVATION" and len(values) == 1:
        yield "--reservation-affinity=specific"
        yield f"--reservation={values[0]}"
    elif kind in ("NO_RESERVATION", "ANY_RESERVATION"):
        yield f"--reservation-affinity={'none' if kind == 'NO_RESERVATION' else 'any'}"
    else:
        return
    config.pop("reservationAffinity")


def _dict(flag: str, values: Mapping[str, Any]) -> str:
    return _list(flag, [f"{key}={value}" for key, value in values.items()])


def _list(flag: str, values: list[str]) -> str:
    """VALUES in one flag, parted by something that none of them has."""
    # https://cloud.google.com/sdk/gcloud/reference/topic/escaping
    found = next((one for one in _DELIMITERS if not any(one in value or one[0] in value for value in values)), None)
    delimiter = found or "\x1f"
    plain = delimiter == "," and not (values and str(values[0]).startswith("^"))
    return f"--{flag}={delimiter.join(values)}" if plain else f"--{flag}=^{delimiter}^{delimiter.join(values)}"


def _paths(left: Any, path: str = "") -> Iterator[str]:
    """The fields that are still in LEFT, by their deepest names; what is empty says nothing."""
    if isinstance(left, Mapping):
        for key, value in left.items():
            yield from _paths(value, f"{path}.{key}" if path else str(key))
    elif isinstance(left, list) and all(isinstance(one, Mapping) for one in left):
        for place, one in enumerate(left):
            yield from _paths(one, f"{path}[{place}]")
    elif left not in (None, "", [], False):
        yield path


def _comment(value: str) -> str:
    return json.dumps(value)[1:-1]
