"""Who may do what: a list of refusals that tests and scenarios order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kubectl_imagecache.sandbox.kube.kinds import Obj

USER = "sandbox-user"
"""The name that refusals call the caller, unless it impersonates another."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refuses matching calls with 403, as RBAC would; empty fields match everything."""

    verb: str = ""
    """get, list, watch, create, update, patch, delete, deletecollection."""
    resource: str = ""
    """Plural, with `/subresource` if one is meant: `pods`, `pods/eviction`."""
    namespace: str = ""
    user: str = ""

    def matches(self, verb: str, resource: str, namespace: str, user: str) -> bool:
        """Whether it refuses this call."""
        asked = ((self.verb, verb), (self.resource, resource), (self.namespace, namespace), (self.user, user))
        return all(mine in ("", theirs) for mine, theirs in asked)


@dataclass(slots=True)
class Access:
    """The refusals in force."""

    refusals: list[Refusal] = field(default_factory=list)

    def allowed(self, verb: str, resource: str, namespace: str, user: str) -> bool:
        """Whether nothing refuses the call."""
        return not any(rule.matches(verb, resource, namespace, user) for rule in self.refusals)

    def review(self, review: Obj, user: str) -> Obj:
        """Answer a SelfSubjectAccessReview."""
        asked: dict[str, Any] = (review.get("spec") or {}).get("resourceAttributes") or {}
        resource = asked.get("resource", "")
        if asked.get("subresource"):
            resource += f"/{asked['subresource']}"
        allowed = self.allowed(asked.get("verb", ""), resource, asked.get("namespace", ""), user)
        status = {"allowed": allowed} if allowed else {"allowed": False, "reason": "refused by the sandbox"}
        return {**review, "status": status}
