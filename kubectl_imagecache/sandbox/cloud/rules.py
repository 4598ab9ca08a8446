"""What of Service Usage, IAM, Secret Manager and Organization Policy a build looks at beforehand."""

from __future__ import annotations

from kubectl_imagecache.sandbox.cloud.errors import ApiError
from kubectl_imagecache.sandbox.cloud.resources import test_permissions
from kubectl_imagecache.sandbox.cloud.routing import Call, Routes
from kubectl_imagecache.sandbox.cloud.state import Json, State

ROUTES = Routes()

SECRET_STATES = "secretStates"
"""Collection of secrets' versions, by their whole names."""


@ROUTES.add("GET", "projects/{project}/services/{service}", "serviceusage.services.get")
def _service(state: State, call: Call) -> Json:
    """Service Usage, which gcloud asks too before it makes a pool with image streaming."""
    return {
        "name": f"projects/{state.project_number}/services/{call['service']}",
        "config": {"name": call["service"]},
        "parent": f"projects/{state.project_number}",
        "state": "DISABLED" if call["service"] in state.apis_off else "ENABLED",
    }


@ROUTES.add("POST", "projects/{project}/serviceAccounts/{account}:testIamPermissions", "iam.serviceAccounts.get")
def _may_act_as(state: State, call: Call) -> Json:
    if call["account"] in state.no_accounts:
        raise ApiError(404, f"Unknown service account: {call['account']}", status="NOT_FOUND")
    return test_permissions(state, call)


@ROUTES.add("GET", "projects/{project}/secrets/{secret}/versions/{version}", "secretmanager.versions.get")
def _secret(state: State, call: Call) -> Json:
    found = state.collection(SECRET_STATES).get(call.path)
    if found is None:
        raise ApiError(404, f"Secret Version [{call.path}] not found.", status="NOT_FOUND")
    return found


@ROUTES.add("GET", "projects/{project}/policies/{constraint}:getEffectivePolicy", "orgpolicy.policy.get")
def _policy(state: State, call: Call) -> Json:
    # Without any policy Google answers with the constraint's default, which for those that are played allows all.
    rules = state.policies.get(call["constraint"], [{"allowAll": True}])
    name = f"projects/{state.project_number}/policies/{call['constraint']}"
    return {"name": name, "spec": {"rules": rules}}
