from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest

from kubectl_imagecache.sandbox.embedded import Sandbox
from tests.cli.test_roll import ROLL, begin, run
from tests.usecases.roll_stage import NEW, settings, stage, state_of

MADE_BY_GKE = ("status", "instanceGroupUrls", "etag", "selfLink", "futureField")
RICH: dict[str, Any] = {
    "machineType": "n1-standard-16",
    "diskSizeGb": 200,
    "diskType": "pd-ssd",
    "serviceAccount": "nodes@sandbox-project.iam.gserviceaccount.com",
    "metadata": {"disable-legacy-endpoints": "true", "motd": 'one, two\nthree\'s "fourth"'},
    "labels": {"role": "web", "tier": ""},
    "tags": ["a", "b"],
    "taints": [
        {"key": "gpu", "value": "yes", "effect": "NO_SCHEDULE"},
        {"key": "slow", "value": "", "effect": "PREFER_NO_SCHEDULE"},
    ],
    "gvnic": {"enabled": True},
    "spot": True,
    "minCpuPlatform": "Intel Skylake",
    "loggingConfig": {"variantConfig": {"variant": "MAX_THROUGHPUT"}},
    "accelerators": [
        {
            "acceleratorType": "nvidia-tesla-t4",
            "acceleratorCount": "1",
            "gpuDriverInstallationConfig": {"gpuDriverVersion": "LATEST"},
            "gpuSharingConfig": {"gpuSharingStrategy": "TIME_SHARING", "maxSharedClientsPerGpu": "4"},
        }
    ],
    "shieldedInstanceConfig": {"enableSecureBoot": True, "enableIntegrityMonitoring": True},
    "workloadMetadataConfig": {"mode": "GKE_METADATA"},
    "reservationAffinity": {
        "consumeReservationType": "SPECIFIC_RESERVATION",
        "key": "compute.googleapis.com/reservation-name",
        "values": ["spare"],
    },
    "advancedMachineFeatures": {"threadsPerCore": "1", "enableNestedVirtualization": True},
    "secondaryBootDisks": [
        {"diskImage": "projects/sandbox-project/global/images/cache-1"},
        {"diskImage": "projects/sandbox-project/global/images/cache-1", "mode": "CONTAINER_IMAGE_CACHE"},
    ],
}
BESIDE: dict[str, Any] = {
    "maxPodsConstraint": {"maxPodsPerNode": "32"},
    "upgradeSettings": {"maxSurge": 2, "maxUnavailable": 1},
    "management": {"autoRepair": True},
    "placementPolicy": {"type": "COMPACT"},
    "networkConfig": {"podRange": "pods-2", "enablePrivateNodes": True},
    "autoscaling": {"enabled": True, "totalMinNodeCount": 1, "totalMaxNodeCount": 9, "locationPolicy": "ANY"},
}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settings()) as running:
        yield running


def pools(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    return sandbox.cloud.state.collection(
        f"projects/sandbox-project/locations/europe-west4/clusters/{sandbox.cluster}/nodePools"
    )


def told(value: Any) -> Any:
    """A pool as GKE has it, without what differs from one made the same way, and what is as good as left out."""
    if isinstance(value, dict):
        kept = {key: told(item) for key, item in value.items() if key not in ("resourceLabels", *MADE_BY_GKE)}
        return {key: item for key, item in kept.items() if item not in (None, {}, [], False, 0)}
    return [told(item) for item in value] if isinstance(value, list) else value


def furnish(sandbox: Sandbox, rich: bool) -> None:
    stage(sandbox, nodes=1)
    if rich:
        found = pools(sandbox)["web"]
        found.update(BESIDE)
        found["config"].update(RICH)


@pytest.mark.parametrize("rich", [False, True], ids=["plain", "rich"])
def test_the_real_gcloud_makes_of_what_is_printed_the_pool_that_a_roll_makes(
    sandbox: Sandbox, tmp_path: Path, rich: bool
) -> None:
    furnish(sandbox, rich)
    code, script, err = run(sandbox, tmp_path, "web", "--disk-image", NEW.name, "--emit", "gcloud")
    assert (code, err) == (0, "")
    unknown = [line for line in script.splitlines() if line.startswith("# gcloud has no flag")]
    assert unknown == ["# gcloud has no flag that this program knows for: config.futureField.kept"]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **sandbox.env(), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
    done = subprocess.run(["sh", "-c", f"{script.rstrip()} --async"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    by_gcloud = pools(sandbox)["web-r2"]
    with Sandbox(settings()) as other:
        furnish(other, rich)
        process = begin(other, tmp_path, *ROLL, "--repin", "--allow", "selectors", "--allow", "quota")
        assert process.stdout is not None
        for _ in process.stdout:
            if "web-r2" in pools(other):
                break
        process.kill()
        process.communicate()
        assert told(by_gcloud) == told(pools(other)["web-r2"])


@pytest.mark.parametrize("form", ["terraform", "gcloud", "computeclass", "karpenter"])
def test_emitting_changes_nothing(sandbox: Sandbox, tmp_path: Path, form: str) -> None:
    stage(sandbox, nodes=1)
    sandbox.world.calls.clear()
    code, out, err = run(sandbox, tmp_path, "web", "--disk-image", NEW.name, "--emit", form)
    assert (code, err) == (0, "")
    assert NEW.name in out
    assert {call.method for call in sandbox.world.calls} == {"GET"}


def test_after_the_roll_the_pool_that_it_made_is_printed_without_being_named_anew(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    stage(sandbox, nodes=1)
    assert run(sandbox, tmp_path, *ROLL)[0] == 0
    assert set(state_of(sandbox)["pools"]) == {"web-r2"}
    code, out, err = run(sandbox, tmp_path, "web", "--emit", "terraform")
    assert (code, err) == (0, "")
    found = hcl2.loads(out)
    assert found["import"][0]["id"].strip('"') == "sandbox-project/europe-west4/empty/web-r2"
    code, _, err = run(sandbox, tmp_path, "web", "--emit", "terraform", "--disk-image", "other")
    assert (code, err.splitlines()[0]) == (2, "error: web-r2, made by a roll of web, does not have other")


def test_before_a_roll_the_disk_image_must_be_named(sandbox: Sandbox, tmp_path: Path) -> None:
    stage(sandbox, nodes=1)
    code, _, err = run(sandbox, tmp_path, "web", "--emit", "gcloud")
    assert (code, err.splitlines()[1]) == (2, "hint: name it: --disk-image")
