from __future__ import annotations

import pytest

from kubectl_imagecache.clients.gke import cluster_of
from kubectl_imagecache.core.iac import FORMATS, Tool, tools
from kubectl_imagecache.core.reasons import ManagedByTool
from kubectl_imagecache.core.verdict import pool_reasons


@pytest.mark.parametrize(
    ("label", "value", "name"),
    [
        ("goog-terraform-provisioned", "true", "Terraform"),
        ("goog-pulumi-provisioned", "true", "Pulumi"),
        ("managed-by-cnrm", "true", "Config Connector"),
        ("crossplane-name", "web-x7", "Crossplane"),
        ("managed_by", "terraform", "Terraform"),
        ("managed-by", "OpenTofu", "OpenTofu"),
        ("provisioner", "karpenter", "Karpenter"),
    ],
)
def test_a_tool_is_known_by_the_label_that_it_or_people_leave(label: str, value: str, name: str) -> None:
    (found,) = tools([(label, value), ("team", "ml")])
    assert (found.name, found.label) == (name, f"{label}={value}")
    assert found.emit in FORMATS


@pytest.mark.parametrize(
    ("label", "value"),
    [("goog-terraform-provisioned", "false"), ("managed-by", "alice"), ("team", "terraform"), ("imagecache", "true")],
)
def test_other_labels_name_no_tool(label: str, value: str) -> None:
    assert tools([(label, value)]) == ()


def test_two_labels_of_one_tool_are_one_tool() -> None:
    assert tools([("crossplane-name", "x"), ("crossplane-kind", "y"), ("managed-by", "terraform")]) == (
        Tool("Crossplane", "crossplane-kind=y"),
        Tool("Terraform", "managed-by=terraform"),
    )


def test_status_says_who_keeps_a_pool_by_its_own_labels_or_its_clusters() -> None:
    disk = {"diskImage": "global/images/x", "mode": "CONTAINER_IMAGE_CACHE"}
    document = {
        "name": "prod",
        "location": "europe-west4",
        "resourceLabels": {"goog-terraform-provisioned": "true"},
        "nodePools": [
            {"name": "a", "config": {"secondaryBootDisks": [disk]}},
            {"name": "b", "config": {"secondaryBootDisks": [disk], "resourceLabels": {"managed-by": "pulumi"}}},
            {"name": "c", "config": {}},
        ],
    }
    pools = cluster_of(document, "GKE", "p").pools
    found = {pool.name: [r for r in pool_reasons(pool, []) if isinstance(r, ManagedByTool)] for pool in pools}
    assert found == {
        "a": [ManagedByTool("Terraform", "goog-terraform-provisioned=true", "a", "terraform")],
        "b": [
            ManagedByTool("Pulumi", "managed-by=pulumi", "b", "terraform"),
            ManagedByTool("Terraform", "goog-terraform-provisioned=true", "b", "terraform"),
        ],
        "c": [],
    }
