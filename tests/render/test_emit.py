from __future__ import annotations

import io
import re
import shlex
from collections.abc import Callable
from typing import Any

import hcl2
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_imagecache.core.emit import Replacement
from kubectl_imagecache.core.iac import FORMATS
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.render.emit import emitted
from kubectl_imagecache.render.emit_terraform import address, text
from kubectl_imagecache.render.emit_yaml import rolled_class

DISK = DiskImageRef("acme-ml", "models-2026-02")
POOL: dict[str, Any] = {
    "name": "gpu-r2",
    "initialNodeCount": 2,
    "locations": ["europe-west4-a", "europe-west4-b"],
    "version": "1.32.9-gke.1130000",
    "status": "RUNNING",
    "selfLink": "https://container.googleapis.com/v1/x",
    "autoscaling": {"enabled": True, "totalMinNodeCount": 1, "totalMaxNodeCount": 9, "locationPolicy": "ANY"},
    "management": {"autoRepair": True},
    "maxPodsConstraint": {"maxPodsPerNode": "32"},
    "upgradeSettings": {"maxSurge": 2, "maxUnavailable": 1, "strategy": "SURGE"},
    "networkConfig": {"podRange": "pods-2", "podIpv4CidrBlock": "10.4.0.0/14", "enablePrivateNodes": True},
    "placementPolicy": {"type": "COMPACT"},
    "novelty": {"kept": {"deep": 1}, "off": False},
    "config": {
        "machineType": "g2-standard-12",
        "diskSizeGb": 200,
        "diskType": "pd-ssd",
        "imageType": "COS_CONTAINERD",
        "serviceAccount": "nodes@acme-ml.iam.gserviceaccount.com",
        "oauthScopes": ["https://www.googleapis.com/auth/cloud-platform"],
        "metadata": {"disable-legacy-endpoints": "true", "motd": "one, two\nthree"},
        "labels": {"role": "inference"},
        "tags": ["a", "b"],
        "taints": [{"key": "gpu", "value": "yes", "effect": "NO_SCHEDULE"}],
        "resourceLabels": {"team": "ml", "imagecache-roll-from": "gpu"},
        "gcfsConfig": {"enabled": True},
        "gvnic": {"enabled": True},
        "spot": True,
        "accelerators": [
            {
                "acceleratorType": "nvidia-l4",
                "acceleratorCount": "1",
                "gpuDriverInstallationConfig": {"gpuDriverVersion": "LATEST"},
                "gpuSharingConfig": {"gpuSharingStrategy": "TIME_SHARING", "maxSharedClientsPerGpu": "4"},
            }
        ],
        "shieldedInstanceConfig": {"enableSecureBoot": True},
        "workloadMetadataConfig": {"mode": "GKE_METADATA"},
        "reservationAffinity": {
            "consumeReservationType": "SPECIFIC_RESERVATION",
            "key": "compute.googleapis.com/reservation-name",
            "values": ["spare"],
        },
        "kubeletConfig": {"cpuManagerPolicy": "static"},
        "secondaryBootDisks": [
            {"diskImage": "global/images/data"},
            {"diskImage": str(DISK), "mode": "CONTAINER_IMAGE_CACHE"},
        ],
    },
}


def replacement(pool: dict[str, Any] | None = None, **more: Any) -> Replacement:
    facts: dict[str, Any] = {
        "project": "acme-ml",
        "location": "europe-west4",
        "cluster": "prod",
        "old": "gpu",
        "disk": DISK,
    }
    return Replacement(**(facts | {"pool": POOL if pool is None else pool, "exists": True} | more))


@pytest.mark.parametrize("form", FORMATS)
def test_a_pool_in_every_format(form: str, golden: Callable[[str, str], None]) -> None:
    golden(f"emit-{form}.txt", emitted(form, replacement()))


def test_a_class_keeps_what_is_its_own_and_loses_what_the_server_writes(golden: Callable[[str, str], None]) -> None:
    found = {
        "metadata": {
            "name": "models",
            "uid": "1",
            "managedFields": [{}],
            "labels": {"team": "ml"},
            "annotations": {"kubectl-imagecache/former": "[]", "note": "kept"},
        },
        "spec": {
            "whenUnsatisfiable": "DoNotScaleUp",
            "priorities": [
                {"machineFamily": "g2", "storage": {"bootDiskSize": 200, "secondaryBootDisks": [DISKS[0]]}},
                {"machineFamily": "n2"},
            ],
        },
        "status": {"conditions": []},
    }
    golden("emit-class.txt", rolled_class(found, DISK))


DISKS = ({"diskImageName": "models-2026-01", "mode": "CONTAINER_IMAGE_CACHE"},)
ANY = st.text(max_size=40)
HOSTILE = st.one_of(
    ANY, st.sampled_from(['"\n}', "${file(1)}", "%{if x}", "'; rm x; '", "a,b=c", "^;^a", "-x", "\\", "# x"])
)


@given(HOSTILE)
def test_a_terraform_string_means_what_it_was_made_of(value: str) -> None:
    assert meaning(text(value)) == value


def meaning(literal: str) -> str:
    """What HCL takes a string literal for, by its specification: strict, nothing else is allowed to stand there."""
    assert re.fullmatch(r'"(?:[^"\\\n$%]|\\["\\nrt]|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|\$\$\{|%%\{|[$%](?!\{))*"', literal)
    tokens = re.findall(r"\\u.{4}|\\U.{8}|\\.|\$\$\{|%%\{|.", literal[1:-1])
    return "".join(
        chr(int(one[2:], 16)) if one[:2] in ("\\u", "\\U") else one[1:] if one[0] == "\\" or len(one) == 3 else one
        for one in tokens
    )


@settings(deadline=None, max_examples=10)
@given(HOSTILE, HOSTILE, HOSTILE)
def test_no_name_breaks_out_of_the_terraform(name: str, cluster: str, image: str) -> None:
    pool = {"name": name, "config": {"secondaryBootDisks": [{"diskImage": image}]}, "initialNodeCount": 1}
    found = hcl2.load(io.StringIO(emitted("terraform", replacement(pool, cluster=cluster, old=name))))
    assert len(found["import"]) == len(found["resource"]) == 1
    assert set(found) - {"__comments__"} == {"import", "resource"}
    ((kind, named),) = found["resource"][0].items()
    assert kind.strip('"') == "google_container_node_pool"
    (block,) = named.values()
    fields = {key for key in block if not key.startswith("__")}
    assert fields == {"project", "location", "cluster", "name", "node_count", "node_config", "lifecycle"}


@given(ANY)
def test_every_address_is_an_identifier(name: str) -> None:
    assert re.fullmatch(r"google_container_node_pool\.[a-z][a-z0-9_]*", address(name))


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(WORDS, WORDS, st.dictionaries(WORDS, WORDS, max_size=3), WORDS)
def test_no_name_breaks_out_of_the_shell(name: str, cluster: str, metadata: dict[str, str], field: str) -> None:
    pool = {"name": name, "config": {"metadata": metadata}, f"x{field}": {"y": 1}}
    script = emitted("gcloud", replacement(pool, cluster=cluster, old=name))
    comments, command = script.split("gcloud container node-pools create ", 1)
    assert all(line.startswith("# ") for line in comments.splitlines())
    words, ends = shlex.split(command)[::2], shlex.split(command)[1::2]
    # A line's continuation is a word of its own to shlex, though not to a shell.
    assert set(ends) == {"\n"}
    assert (words[0], words[3]) == (name, f"--cluster={cluster}")
    assert all(word.startswith("--") for word in words[1:])


@given(WORDS, WORDS)
def test_no_name_breaks_out_of_the_yaml(name: str, image: str) -> None:
    disk = DiskImageRef("p", image)
    made = list(yaml.safe_load_all(emitted("computeclass", replacement({"name": name}, old=name, disk=disk))))
    assert [one["kind"] for one in made] == ["ComputeClass", "GCPResourceAllowlist"]
    assert made[0]["metadata"] == {"name": name}
    assert made[0]["spec"]["priorities"][0]["storage"]["secondaryBootDisks"][0]["diskImageName"] == image
    assert made[1]["spec"]["allowedResourcePatterns"] == [str(disk).replace(".", "\\.")]
    (node_class,) = yaml.safe_load_all(emitted("karpenter", replacement({"name": name}, old=name, disk=disk)))
    assert node_class["spec"]["disks"][1]["secondaryBootImage"] == str(disk)
