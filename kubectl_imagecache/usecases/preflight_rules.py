"""Looks, before a VM is made, for obstacles beside Compute: APIs, accounts, secrets, policies, bare pulls."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kubectl_imagecache.clients.project_rules import ACT_AS, ProjectRules
from kubectl_imagecache.core.build_requests import boot_image
from kubectl_imagecache.core.errors import (
    BadUsage,
    NotFound,
    NotPermitted,
    Unauthenticated,
    Unavailable,
    UserError,
)
from kubectl_imagecache.core.org_policies import against, needed
from kubectl_imagecache.core.plan import BuildPlan, PlannedImage
from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.core.vm_wish import VmWish
from kubectl_imagecache.usecases.preflight import Look

Found = Iterator[UserError | str]
"""Problems, and warnings as texts."""
Read = Callable[[ImageRef, str], None]
"""Asks a registry, without credentials, for the manifest of a reference and digest; raises UserError."""
SHOWN = 3


def rules_of(rules: ProjectRules, wish: VmWish, default_account: Callable[[], str]) -> list[Look]:
    """What `preflight` looks at besides; DEFAULT_ACCOUNT tells the email of the project's own service account."""
    return [
        lambda: list(_apis(rules, wish)),
        lambda: list(_account(rules, wish, default_account)),
        lambda: list(_secrets(rules, wish)),
        lambda: list(_policies(rules, wish)),
    ]


def _apis(rules: ProjectRules, wish: VmWish) -> Found:
    apis = ["compute.googleapis.com"]
    if any(login.source.startswith(f"projects/{wish.vm.project}/") for login in wish.registries):
        apis.append("secretmanager.googleapis.com")
    try:
        disabled = [api for api in apis if not rules.is_enabled(api)]
    except (Unauthenticated, Unavailable):
        raise
    except UserError as error:
        yield f"whether APIs are enabled was not checked beforehand: {error.message}"
        return
    for api in disabled:
        yield UserError(
            f"{api} is not enabled in {wish.vm.project}", f"gcloud services enable {api} --project {wish.vm.project}"
        )


def _account(rules: ProjectRules, wish: VmWish, default_account: Callable[[], str]) -> Found:
    if not wish.has_account:
        return
    try:
        account = wish.vm.service_account or default_account()
        if not rules.may_act_as(account):
            yield NotPermitted(ACT_AS, account, "roles/iam.serviceAccountUser")
    except NotFound:
        what = wish.vm.service_account or "the project's default one"
        yield BadUsage(f"there is no service account {what}", "name one with --service-account")
    except (Unauthenticated, Unavailable):
        raise
    except UserError as error:
        yield f"{ACT_AS} was not checked beforehand: {error.message}"


def _secrets(rules: ProjectRules, wish: VmWish) -> Found:
    for login in wish.registries:
        if login.auth != "secret":
            continue
        try:
            state = rules.secret_state(login.source)
        except (Unauthenticated, Unavailable):
            raise
        except UserError as error:
            yield f"the secret for {login.host} was not looked at beforehand: {error.message}"
            continue
        if state is None:
            yield BadUsage(f"there is no secret {login.source}", f"check --registry-auth {login.host}=secret:…")
        elif state != "ENABLED":
            yield UserError(f"the secret {login.source} is {state}", "enable it, or name another version")


def _policies(rules: ProjectRules, wish: VmWish) -> Found:
    for constraint in needed(wish):
        try:
            policy = rules.policy(constraint)
        except (Unauthenticated, Unavailable):
            raise
        except UserError as error:
            yield f"the organization's policies were not checked beforehand: {error.message}"
            return
        if policy is not None:
            yield from against(wish, boot_image(wish.vm, wish.arch), constraint, policy)


def without_credentials(plan: BuildPlan, read: Read) -> Found:
    """Images that the VM is to pull without credentials, although their registry wants some.

    The plan's digests were asked for with the user's own credentials, so that nothing has told yet.
    """
    bare = {login.host for login in plan.registries if login.auth == "none" and not login.endpoint}
    refused: dict[str, list[PlannedImage]] = {}
    unread: list[str] = []
    firsts = {image.ref.name: image for image in reversed(plan.images) if image.ref.registry in bare}
    for image in reversed(firsts.values()):
        try:
            read(image.ref, image.digest)
        except (Unauthenticated, NotPermitted, NotFound):
            refused.setdefault(image.ref.registry, []).append(image)
        except UserError as error:
            unread.append(f"{image.ref.familiar}: {error.message}")
    for host, images in refused.items():
        names = ", ".join(image.ref.familiar for image in images[:SHOWN])
        more = f" and {len(images) - SHOWN} more" if len(images) > SHOWN else ""
        yield UserError(
            f"{host} wants credentials for {names}{more}, and the VM will have none",
            f"--registry-auth {host}=secret:projects/P/secrets/S/versions/V, or google for Google's registries",
        )
    if unread:
        yield f"whether the VM can pull was not checked beforehand: {unread[0]}"
