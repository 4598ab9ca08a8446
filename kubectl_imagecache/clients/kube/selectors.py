"""Label selectors, for what the API server can't select for us: files, and the pod labels of templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from kubectl_imagecache.core.errors import BadUsage

# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
_KEY = r"(?:[a-z0-9A-Z.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?)?"
_TERM = re.compile(
    rf"\s*(?:(?P<absent>!\s*{_KEY})|(?P<key>{_KEY})(?:\s*(?P<operator>==|!=|=)\s*(?P<value>{_VALUE})"
    rf"|\s+(?P<set>in|notin)\s*\((?P<values>\s*{_VALUE}\s*(?:,\s*{_VALUE}\s*)*)\))?)\s*(?P<end>,|\Z)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement of a selector."""

    key: str
    values: frozenset[str] | None
    """None: any value will do."""
    wanted: bool = True
    """False: the key must be absent or have another value."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether LABELS meet it; `!=` and `notin` accept a missing key, as in Kubernetes."""
        found = self.key in labels and (self.values is None or labels[self.key] in self.values)
        return found is self.wanted


Selector: TypeAlias = tuple[Requirement, ...]
"""Requirements that must all be met; empty selects everything."""


def parse_selector(text: str) -> Selector:
    """Read kubectl's -l TEXT; raise BadUsage if it isn't a label selector."""
    found: list[Requirement] = []
    at = 0
    while text.strip() and at < len(text):
        match = _TERM.match(text, at)
        if match is None or (match["end"] == "," and not text[match.end() :].strip()):
            raise BadUsage(
                f"not a label selector: {text[:200]!r}", "expected KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY, !KEY, …"
            )
        found.append(_requirement(match))
        at = match.end()
    return tuple(found)


def _requirement(match: re.Match[str]) -> Requirement:
    if match["absent"]:
        return Requirement(match["absent"][1:].strip(), None, wanted=False)
    if match["set"]:
        values = frozenset(value.strip() for value in match["values"].split(","))
        return Requirement(match["key"], values, wanted=match["set"] == "in")
    if match["operator"]:
        return Requirement(match["key"], frozenset({match["value"]}), wanted=match["operator"] != "!=")
    return Requirement(match["key"], None)
