"""A rolled pool as Terraform has it: what to change in its resource, and how the state follows."""

from __future__ import annotations

import json
import re

from kubectl_imagecache.core.emit import Replacement

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")


def text(value: str) -> str:
    """VALUE as an HCL string literal, in which no template begins and which nothing in VALUE can end."""
    # https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md#template-expressions
    quoted = "".join(map(_character, value))
    return '"' + quoted.replace("${", "$${").replace("%{", "%%{") + '"'


def _character(one: str) -> str:
    if one in '"\\':
        return "\\" + one
    if one.isascii() and one.isprintable():
        return one
    return f"\\u{ord(one):04x}" if ord(one) < 0x10000 else f"\\U{ord(one):08x}"


def address(name: str) -> str:
    """A resource's address for a pool called NAME."""
    label = re.sub(r"[^a-z0-9_]", "_", name.lower())
    return f"google_container_node_pool.{label if _IDENTIFIER.fullmatch(label) else f'pool_{label}'}"


def terraform(what: Replacement) -> str:
    """The resource of the new pool under the old one's address, its import, and the commands that go before."""
    at = address(what.old)
    resource_id = f"{what.project}/{what.location}/{what.cluster}/{what.name}"
    when = "The roll has made it already" if what.exists else "Once the roll has made it"
    lines = [
        f"# Node pool {_comment(what.name)} takes the place of {_comment(what.old)}.",
        f"# {when}: let the state forget the old pool, which the roll deletes itself:",
        f"#   terraform state rm {at}",
        "# then commit this, put into your own block of that pool: what is not here stays as it is there.",
        f"# Where your address is not {at}, put yours. Take the import block out after the apply.",
        "import {",
        f"  to = {at}",
        f"  id = {text(resource_id)}",
        "}",
        "",
        f'resource "google_container_node_pool" "{at.partition(".")[2]}" {{',
        f"  project  = {text(what.project)}",
        f"  location = {text(what.location)}",
        f"  cluster  = {text(what.cluster)}",
        f"  name     = {text(what.name)}",
        "",
        *([] if what.autoscaled else [f"  node_count = {what.count}", ""]),
        "  node_config {",
        "    gcfs_config {",
        "      enabled = true",
        "    }",
    ]
    for image, mode in what.disks:
        lines += ["    secondary_boot_disks {", f"      disk_image = {text(image)}"]
        lines += [f"      mode       = {text(mode)}"] if mode else []
        lines.append("    }")
    lines += [
        "  }",
        "",
        "  lifecycle {",
        "    # The roll begins with the size that the old pool had: another number here would replace the pool.",
        "    # Its resource labels imagecache-roll-* tell where the pool is from, and may go once the roll is over.",
        "    ignore_changes = [initial_node_count, node_config[0].resource_labels]",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _comment(value: str) -> str:
    """VALUE on one line, so that it can't end the comment."""
    return json.dumps(value)[1:-1]
