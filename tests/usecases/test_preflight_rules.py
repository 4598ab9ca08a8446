from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kubectl_imagecache.clients.compute_preflight import Surroundings
from kubectl_imagecache.clients.http import Http
from kubectl_imagecache.clients.project_rules import ProjectRules
from kubectl_imagecache.clients.registry import Registry
from kubectl_imagecache.clients.retry import Pace
from kubectl_imagecache.core.errors import UserError
from kubectl_imagecache.core.plan import BuildPlan, RegistryLogin
from kubectl_imagecache.core.vm_wish import builder
from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.scenarios import shelf
from kubectl_imagecache.usecases.preflight import preflight
from kubectl_imagecache.usecases.preflight_rules import rules_of, without_credentials
from tests.usecases.builds import PROJECT, Workshop, workshop

SECRET = f"projects/{PROJECT}/secrets/hub/versions/latest"
DEFAULT = "123456789012-compute@developer.gserviceaccount.com"
BUILDER = "builder@sandbox-project.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def running() -> Iterator[Workshop]:
    with workshop() as found:
        yield found


@pytest.fixture
def shop(running: Workshop) -> Iterator[Workshop]:
    state = running.sandbox.cloud.state
    yield running
    for kept in (state.denied, state.apis_off, state.no_accounts, state.policies, running.sandbox.world.faults.rules):
        kept.clear()


def found(shop: Workshop, plan: BuildPlan) -> list[UserError | str]:
    """What the checks find, beside Compute's own."""
    http = Http(pace=Pace(sleep=lambda seconds: None), env=shop.sandbox.env())
    google = shop.google(http)
    around = Surroundings(google, PROJECT)
    looks = rules_of(ProjectRules(google, PROJECT), builder(plan), around.default_account)
    anybody = Registry.anonymous(shop.sandbox.env(), http)
    return [*(item for look in looks for item in look()), *without_credentials(plan, anybody.has)]


def texts(shop: Workshop, plan: BuildPlan) -> list[str]:
    return [item if isinstance(item, str) else f"{item.message} | {item.hint}" for item in found(shop, plan)]


def with_vm(plan: BuildPlan, **more: Any) -> BuildPlan:
    return replace(plan, vm=replace(plan.vm, **more))


def with_secret(plan: BuildPlan) -> BuildPlan:
    return replace(plan, registries=(RegistryLogin("docker.io", "secret", SECRET),))


def test_nothing_in_the_way_is_nothing_found(shop: Workshop) -> None:
    assert texts(shop, with_vm(shop.plan(), service_account=BUILDER)) == []


def test_an_api_that_is_off_is_named(shop: Workshop) -> None:
    shop.sandbox.cloud.state.apis_off.add("secretmanager.googleapis.com")
    shop.sandbox.cloud.add_secret(SECRET)
    assert texts(shop, with_secret(shop.plan())) == [
        "secretmanager.googleapis.com is not enabled in sandbox-project"
        " | gcloud services enable secretmanager.googleapis.com --project sandbox-project"
    ]


@pytest.mark.parametrize(("given", "account"), [("", DEFAULT), (BUILDER, BUILDER)])
def test_an_account_that_may_not_be_used_is_a_problem_with_its_role(shop: Workshop, given: str, account: str) -> None:
    shop.sandbox.cloud.deny("iam.serviceAccounts.actAs")
    shop.sandbox.cloud.add_secret(SECRET)
    assert texts(shop, with_vm(with_secret(shop.plan()), service_account=given)) == [
        f"not permitted: iam.serviceAccounts.actAs on {account}"
        " | the least role that allows it: roles/iam.serviceAccountUser"
    ]


def test_an_account_that_is_not_there_is_a_problem_and_a_vm_without_one_needs_none(shop: Workshop) -> None:
    shop.sandbox.cloud.state.no_accounts.update({BUILDER, DEFAULT})
    assert texts(shop, with_vm(shop.plan(), service_account=BUILDER)) == [
        f"there is no service account {BUILDER} | name one with --service-account"
    ]
    assert texts(shop, shop.plan()) == []


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("", f"there is no secret {SECRET} | check --registry-auth docker.io=secret:…"),
        ("DISABLED", f"the secret {SECRET} is DISABLED | enable it, or name another version"),
    ],
)
def test_a_secret_that_cant_be_read_is_a_problem(shop: Workshop, state: str, text: str) -> None:
    shop.sandbox.cloud.state.collections.pop("secretStates", None)
    if state:
        shop.sandbox.cloud.add_secret(SECRET, state)
    assert texts(shop, with_secret(shop.plan())) == [text]


@pytest.mark.parametrize(
    ("constraint", "rules", "change", "words"),
    [
        ("compute.vmExternalIpAccess", [{"denyAll": True}], {"external_ip": True}, "forbids an external IP of the VM"),
        ("compute.vmExternalIpAccess", [{"denyAll": True}], {}, ""),
        (
            "compute.trustedImageProjects",
            [{"values": {"allowedValues": ["projects/ours"]}}],
            {},
            "forbids a boot image of projects/debian-cloud",
        ),
        (
            "gcp.resourceLocations",
            [{"values": {"allowedValues": ["in:us-locations"]}}],
            {},
            "forbids resources in europe-west4-b",
        ),
        (
            "gcp.resourceLocations",
            [{"values": {"allowedValues": ["in:eu-locations"]}}],
            {},
            "may forbid resources in europe-west4-b",
        ),
        (
            "gcp.restrictNonCmekServices",
            [{"values": {"deniedValues": ["compute.googleapis.com"]}}],
            {},
            "forbids disks without a key of your own",
        ),
        (
            "gcp.restrictNonCmekServices",
            [{"values": {"deniedValues": ["compute.googleapis.com"]}}],
            {"kms_key": "projects/p/locations/l/keyRings/r/cryptoKeys/k"},
            "",
        ),
    ],
)
def test_a_policy_of_the_organization_is_told_where_it_matters(
    shop: Workshop, constraint: str, rules: list[dict[str, Any]], change: dict[str, Any], words: str
) -> None:
    shop.sandbox.cloud.state.policies[constraint] = rules
    told = texts(shop, with_vm(shop.plan(), **change))
    assert [text.partition(" | ")[0].partition(": it names")[0] for text in told] == (
        [f"the organization's policy {constraint} {words}"] if words else []
    )


def test_private_images_that_the_vm_would_pull_without_credentials_are_a_problem(shop: Workshop) -> None:
    plan = shop.plan(f"{shelf.GATEWAY}:7.12.0", google=False)
    host = shelf.ACME.partition("/")[0]
    (text,) = texts(shop, plan)
    assert text.startswith(f"{host} wants credentials for {shelf.GATEWAY}:7.12.0, and the VM will have none | ")
    assert texts(shop, shop.plan(f"{shelf.GATEWAY}:7.12.0")) == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("services/", "whether APIs are enabled was not checked beforehand"),
        ("serviceAccounts/", "iam.serviceAccounts.actAs was not checked beforehand"),
        ("versions/", "the secret for docker.io was not looked at beforehand"),
        ("policies/", "the organization's policies were not checked beforehand"),
    ],
)
@pytest.mark.parametrize("status", [400, 403])
def test_what_cant_be_looked_at_is_said_and_blocks_nothing(shop: Workshop, path: str, words: str, status: int) -> None:
    shop.sandbox.cloud.add_secret(SECRET)
    shop.sandbox.world.faults.rules.append(Fault(status=status, service="compute", path=path, times=-1))
    told = found(shop, with_secret(shop.plan()))
    assert [str(item).partition(": ")[0] for item in told] == [words]
    assert all(isinstance(item, str) for item in told)


def test_they_stand_among_the_findings_of_the_preflight(shop: Workshop) -> None:
    shop.sandbox.cloud.state.policies["gcp.resourceLocations"] = [{"denyAll": True}]
    shop.sandbox.cloud.state.quotas["HDB_TOTAL_GB"] = 15.0
    plan = with_vm(shop.plan(), disk_type="hyperdisk-balanced")
    google = shop.google()
    looks = rules_of(ProjectRules(google, PROJECT), builder(plan), lambda: DEFAULT)
    findings = preflight(Surroundings(google, PROJECT), builder(plan), looks)
    shop.sandbox.cloud.state.quotas.clear()
    assert [problem.message for problem in findings.problems] == [
        "the quota HDB_TOTAL_GB in europe-west4 has 15 left, 20 are needed",
        "the organization's policy gcp.resourceLocations forbids resources in europe-west4-b",
    ]
