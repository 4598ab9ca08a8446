"""Which infrastructure-as-code tool keeps a node pool, told by the labels that such tools leave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FORMATS = ("terraform", "gcloud", "computeclass", "karpenter")
"""What `roll --emit` can print."""

# Written by the tools themselves:
# https://registry.terraform.io/providers/hashicorp/google/latest/docs/guides/provider_reference#add_terraform_attribution_label
# https://www.pulumi.com/registry/packages/gcp/how-to-guides/8-0-migration/
# https://cloud.google.com/config-connector/docs/how-to/managing-deleting-resources
# https://docs.crossplane.io/latest/managed-resources/managed-resources/
_BY_KEY = {
    "goog-terraform-provisioned": "Terraform",
    "goog-pulumi-provisioned": "Pulumi",
    "managed-by-cnrm": "Config Connector",
    "crossplane-kind": "Crossplane",
    "crossplane-name": "Crossplane",
    "crossplane-providerconfig": "Crossplane",
}
# Written by people, by common habit.
_KEYS = frozenset({"managed-by", "managed_by", "managedby", "provisioned-by", "provisioned_by", "provisioner"})
_BY_VALUE = {
    "terraform": "Terraform",
    "opentofu": "OpenTofu",
    "tofu": "OpenTofu",
    "terragrunt": "Terragrunt",
    "pulumi": "Pulumi",
    "crossplane": "Crossplane",
    "config-connector": "Config Connector",
    "cnrm": "Config Connector",
    "karpenter": "Karpenter",
}
_OFF = frozenset({"false", "no", "0"})
_EMIT = {"Karpenter": "karpenter"}


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that would undo what is changed behind its back."""

    name: str
    """As people write it: `Terraform`."""
    label: str
    """The label that told, `KEY=VALUE`."""

    @property
    def emit(self) -> str:
        """The format of `roll --emit` that is nearest to the tool's own."""
        return _EMIT.get(self.name, "terraform")


def tools(labels: Iterable[tuple[str, str]]) -> tuple[Tool, ...]:
    """The tools that resource LABELS (of a cluster, of a pool) name, each once, by name."""
    found: dict[str, Tool] = {}
    for key, value in sorted(labels):
        by_value = _BY_VALUE.get(value.lower(), "") if key in _KEYS else ""
        name = by_value or ("" if value.lower() in _OFF else _BY_KEY.get(key, ""))
        if name:
            found.setdefault(name, Tool(name, f"{key}={value}"))
    return tuple(found[name] for name in sorted(found))
