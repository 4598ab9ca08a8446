"""Who may do what: refusals that tests and scenarios order, and RBAC for the users to whom it is to apply."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    """The refusals in force, and who needs a ClusterRole."""

    refusals: list[Refusal] = field(default_factory=list)
    subjects: set[str] = field(default_factory=set)
    """Users who may only do what ClusterRoles that are bound to them allow; all others may do everything."""
    objects: Callable[[str], list[Obj]] = lambda kind: []
    """The cluster's objects of a kind."""

    def allowed(self, verb: str, group: str, resource: str, namespace: str, user: str) -> bool:
        """Whether nothing refuses the call, and RBAC allows it where it applies."""
        if any(rule.matches(verb, resource, namespace, user) for rule in self.refusals):
            return False
        return user not in self.subjects or any(_allows(rule, verb, group, resource) for rule in self._rules(user))

    def review(self, review: Obj, user: str) -> Obj:
        """Answer a SelfSubjectAccessReview."""
        asked: dict[str, Any] = (review.get("spec") or {}).get("resourceAttributes") or {}
        resource = asked.get("resource", "")
        if asked.get("subresource"):
            resource += f"/{asked['subresource']}"
        allowed = self.allowed(
            asked.get("verb", ""), asked.get("group", ""), resource, asked.get("namespace", ""), user
        )
        status = {"allowed": allowed} if allowed else {"allowed": False, "reason": "refused by the sandbox"}
        return {**review, "status": status}

    def _rules(self, user: str) -> Iterable[Obj]:
        roles = {role["metadata"]["name"]: role.get("rules") or () for role in self.objects("ClusterRole")}
        for binding in self.objects("ClusterRoleBinding"):
            names = {(one.get("kind"), one.get("name")) for one in binding.get("subjects") or ()}
            if ("User", user) in names:
                yield from roles.get(binding.get("roleRef", {}).get("name", ""), ())


def _allows(rule: Obj, verb: str, group: str, resource: str) -> bool:
    asked = (("verbs", verb), ("apiGroups", group), ("resources", resource))
    return all(value in (rule.get(key) or ()) or "*" in (rule.get(key) or ()) for key, value in asked)
