"""What stands around a build beside Compute: APIs that are on, accounts, secrets, the organization's policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from kubectl_imagecache.clients.google_http import Api, GoogleHttp
from kubectl_imagecache.core.errors import BadAnswer, NotFound
from kubectl_imagecache.core.org_policies import Policy

ACT_AS = "iam.serviceAccounts.actAs"


class ProjectRules:
    """Reads only; every method raises what GoogleHttp.get raises."""

    def __init__(self, http: GoogleHttp, project: str) -> None:
        self._http, self._project = http, project

    def is_enabled(self, api: str) -> bool:
        """Whether API (`compute.googleapis.com`) is enabled in the project."""
        project = f"projects/{quote(self._project, safe=':')}"
        role = "roles/serviceusage.serviceUsageViewer"
        answer = self._get(Api.SERVICE_USAGE, f"{project}/services/{api}", "serviceusage.services.get", project, role)
        return str(answer.get("state")) != "DISABLED"

    def may_act_as(self, account: str) -> bool:
        """Whether the caller may let a VM run as ACCOUNT (an email); raises NotFound if there is none."""
        path = f"projects/-/serviceAccounts/{quote(account, safe='@')}"
        body = msgspec.json.encode({"permissions": [ACT_AS]})
        answer = self._http.ask(
            Api.IAM,
            f"{path}:testIamPermissions",
            body,
            permission="iam.serviceAccounts.get",
            on=account,
            role="roles/iam.serviceAccountViewer",
        )
        return ACT_AS in (_decode(answer.body, account).get("permissions") or ())

    def policy(self, constraint: str) -> Policy | None:
        """The effective policy of a list constraint (`gcp.resourceLocations`); None if there is none."""
        project = f"projects/{quote(self._project, safe=':')}"
        path = f"{project}/policies/{quote(constraint, safe='')}:getEffectivePolicy"
        role = "roles/orgpolicy.policyViewer"
        try:
            answer = self._get(Api.ORG_POLICY, path, "orgpolicy.policy.get", project, role)
        except NotFound:
            return None
        rules = (answer.get("spec") or {}).get("rules") or ()
        # A rule with a condition holds for tagged resources only: what it says of ours can't be told.
        return _policy([rule for rule in rules if isinstance(rule, dict) and not rule.get("condition")])

    def secret_state(self, version: str) -> str | None:
        """`ENABLED`, `DISABLED` or `DESTROYED` of a secret's VERSION (`projects/P/secrets/S/versions/V`).

        None if there is none; what the secret holds is not read.
        """
        path, role = quote(version, safe="/:"), "roles/secretmanager.viewer"
        try:
            answer = self._get(Api.SECRETS, path, "secretmanager.versions.get", version, role)
        except NotFound:
            return None
        return str(answer.get("state") or "")

    def _get(self, api: Api, path: str, permission: str, on: str, role: str) -> dict[str, Any]:
        answer = self._http.get(api, path, permission=permission, on=on, role=role)
        return _decode(answer.body, on)


def _policy(rules: list[Mapping[str, Any]]) -> Policy:
    values = [rule.get("values") or {} for rule in rules]
    return Policy(
        any(rule.get("allowAll") for rule in rules),
        any(rule.get("denyAll") for rule in rules),
        frozenset(str(value) for one in values for value in one.get("allowedValues") or ()),
        frozenset(str(value) for one in values for value in one.get("deniedValues") or ()),
    )


def _decode(body: bytes, what: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadAnswer(f"the answer about {what} makes no sense: {error}") from error
