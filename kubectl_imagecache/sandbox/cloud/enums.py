"""Enum numbers of GKE's node pools to their names: Google's Python client sends numbers, gcloud names."""

from __future__ import annotations

from typing import Any

_POOL: dict[str, tuple[str, ...]] = {
    "secondaryBootDisks.mode": ("MODE_UNSPECIFIED", "CONTAINER_IMAGE_CACHE"),
    "workloadMetadataConfig.mode": ("MODE_UNSPECIFIED", "GCE_METADATA", "GKE_METADATA"),
    "taints.effect": ("EFFECT_UNSPECIFIED", "NO_SCHEDULE", "PREFER_NO_SCHEDULE", "NO_EXECUTE"),
    "sandboxConfig.type": ("UNSPECIFIED", "GVISOR"),
    "placementPolicy.type": ("TYPE_UNSPECIFIED", "COMPACT"),
    "reservationAffinity.consumeReservationType": (
        "UNSPECIFIED",
        "NO_RESERVATION",
        "ANY_RESERVATION",
        "SPECIFIC_RESERVATION",
        "ANY_RESERVATION_THEN_FAIL",
    ),
    "linuxNodeConfig.cgroupMode": ("CGROUP_MODE_UNSPECIFIED", "CGROUP_MODE_V1", "CGROUP_MODE_V2"),
    "variantConfig.variant": ("VARIANT_UNSPECIFIED", "DEFAULT", "MAX_THROUGHPUT"),
    "autoscaling.locationPolicy": ("LOCATION_POLICY_UNSPECIFIED", "BALANCED", "ANY"),
    "upgradeSettings.strategy": ("NODE_POOL_UPDATE_STRATEGY_UNSPECIFIED", "", "BLUE_GREEN", "SURGE", "", "SHORT_LIVED"),
    "gpuSharingConfig.gpuSharingStrategy": ("GPU_SHARING_STRATEGY_UNSPECIFIED", "TIME_SHARING", "MPS"),
    "gpuDriverInstallationConfig.gpuDriverVersion": (
        "GPU_DRIVER_VERSION_UNSPECIFIED",
        "INSTALLATION_DISABLED",
        "DEFAULT",
        "LATEST",
    ),
    "advancedMachineFeatures.performanceMonitoringUnit": (
        "PERFORMANCE_MONITORING_UNIT_UNSPECIFIED",
        "ARCHITECTURAL",
        "STANDARD",
        "ENHANCED",
    ),
    "confidentialNodes.confidentialInstanceType": ("CONFIDENTIAL_INSTANCE_TYPE_UNSPECIFIED", "SEV", "SEV_SNP", "TDX"),
    "nodeAffinities.operator": ("OPERATOR_UNSPECIFIED", "IN", "NOT_IN"),
    "networkPerformanceConfig.totalEgressBandwidthTier": ("TIER_UNSPECIFIED", "TIER_1"),
    "taintConfig.architectureTaintBehavior": ("ARCHITECTURE_TAINT_BEHAVIOR_UNSPECIFIED", "NONE", "ARM"),
    "config.localSsdEncryptionMode": (
        "LOCAL_SSD_ENCRYPTION_MODE_UNSPECIFIED",
        "STANDARD_ENCRYPTION",
        "EPHEMERAL_KEY_ENCRYPTION",
    ),
}
"""Message's field and enum field -> names, by number."""


def named(value: Any, parent: str = "") -> Any:
    """VALUE, JSON as a client sent it, with every enum of a node pool as a name."""
    if isinstance(value, list):
        return [named(item, parent) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _name(f"{parent}.{key}", inner) if isinstance(inner, int) else named(inner, key)
        for key, inner in value.items()
    }


def _name(where: str, number: int) -> Any:
    names = _POOL.get(where, ())
    return names[number] if not isinstance(number, bool) and 0 <= number < len(names) and names[number] else number
