"""`disks describe` and `disks gc`: one disk image, and the disk images that nobody needs any more."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from kubectl_imagecache.cli.options import Command, Option, OutputFormat, Quantity, Scenario, complete_disk_images

if TYPE_CHECKING:
    from kubectl_imagecache.cli.connect import Surrounding
    from kubectl_imagecache.clients.compute_images import DiskImages
    from kubectl_imagecache.core.disk_gc import DiskImageUse, GcDecision
    from kubectl_imagecache.usecases.disk_gc import Users


def span(text: str) -> float:
    """Seconds of a duration such as 7d; raises ValueError for what is none."""
    from kubectl_imagecache.cli import quantities

    return quantities.span(text)


def _flags(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("-o", "--output", type=OutputFormat(), default="table", cls=Option, help="As in status."),
        click.option("--no-headers", is_flag=True, cls=Option, help="Only the rows."),
        click.option("--kubeconfig", default="", type=click.Path(dir_okay=False), cls=Option,
                     help="Whose contexts lead to the clusters' ComputeClasses."),
        click.option("--used-in", multiple=True, metavar="PROJECT", cls=Option,
                     help="Another project whose clusters may use the disk images (repeatable)."),
        click.option("--project", default="", cls=Option, help="Default gcloud's."),
        click.option("--sandbox", type=Scenario(), default="", metavar="[=SCENARIO]", cls=Option,
                     help="Show it on a sandbox."),
    ):  # fmt: skip
        function = option(function)
    return function


@click.command("describe", cls=Command)
@click.argument("disk_image", shell_complete=complete_disk_images)
@_flags
def describe(
    disk_image: str,
    project: str,
    used_in: tuple[str, ...],
    kubeconfig: str,
    output: str,
    no_headers: bool,
    sandbox: str,
) -> None:
    """Show one disk image: its state, what it holds, and what uses it.

    \b
    Examples:
      # By its name in the project, or in full
      {program} disks describe web-2026-01
      {program} disks describe projects/p/global/images/web-2026-01
      # What is on it
      {program} disks describe web-2026-01 -o jsonpath='{.images[*].image}'
      # On a sandbox
      {program} disks describe web-2026-01 --sandbox
    """
    from kubectl_imagecache.cli.connect import inside
    from kubectl_imagecache.clients.compute import Compute
    from kubectl_imagecache.clients.compute_images import DiskImages
    from kubectl_imagecache.clients.gke import disk_image_ref
    from kubectl_imagecache.clients.google_http import GoogleHttp
    from kubectl_imagecache.core.disk_gc import uses_of
    from kubectl_imagecache.core.errors import NotFound
    from kubectl_imagecache.core.pools import DiskState
    from kubectl_imagecache.render.disk_image import disk_image_view

    with inside(sandbox, os.environ) as around:
        google = GoogleHttp.from_env(around.env)
        ref = disk_image_ref(disk_image, project or ("" if "projects/" in disk_image else project_of("", around.env)))
        compute = Compute(google)
        image = compute.disk_image(ref)
        if image.state is DiskState.MISSING:
            raise NotFound(f"there is no disk image {ref}", "`gcloud compute images list` shows what there is")
        found = _users(
            around, [DiskImages(google, name) for name in dict.fromkeys((ref.project, *used_in))], kubeconfig
        )
        newest = compute.newest(ref.project, image.family) if image.family else None
        mine = uses_of(image, found.uses, newest.ref if newest else None)
        _print(disk_image_view(image, mine, found.gaps, around.clock.now()), found, output, no_headers)


@click.command("gc", cls=Command)
@click.option("--family", "families", multiple=True, cls=Option,
              help="Only of this family (repeatable); default those that this program built alone.")  # fmt: skip
@click.option("--keep", type=click.IntRange(1, 1000), default=2, show_default=True, cls=Option,
              help="The newest of each family that stay in any case.")  # fmt: skip
@click.option("--grace", type=Quantity("duration", span), default="7d", show_default=True, cls=Option,
              help="From a disk image's deprecation to its deletion.")  # fmt: skip
@click.option("--allow-unread", is_flag=True, cls=Option, help="Act although something could not be looked at.")
@click.option("--yes", is_flag=True, cls=Option, help="Deprecate and delete; without it nothing is changed.")
@_flags
def gc(
    families: tuple[str, ...],
    keep: int,
    grace: float,
    allow_unread: bool,
    yes: bool,
    project: str,
    used_in: tuple[str, ...],
    kubeconfig: str,
    output: str,
    no_headers: bool,
    sandbox: str,
) -> int:
    """Deprecate the disk images that nothing uses, and delete them once that is long enough ago.

    \b
    Examples:
      # What would become of each disk image, and why; nothing is changed
      {program} disks gc
      # Do it; run it again after a week, or every night
      {program} disks gc --yes
      # One family, whoever built it, the newest three kept
      {program} disks gc --family secondary-disk-image --keep 3 --yes
      # Clusters of another project use them, too
      {program} disks gc --used-in team-b

    \b
    In use is what a node pool, a ComputeClass, an instance template or a disk of
    the project names, in all locations. ComputeClasses are read through the
    kubeconfig's contexts; where one can't be read, nothing is changed. With a
    disk image that is deleted goes its record in Cloud Storage, if it has one.
    """
    from kubectl_imagecache.cli.connect import inside
    from kubectl_imagecache.clients.compute_images import DiskImages
    from kubectl_imagecache.clients.google_http import GoogleHttp
    from kubectl_imagecache.core.disk_gc import GcPolicy, decide_gc, without_family
    from kubectl_imagecache.core.errors import BadUsage
    from kubectl_imagecache.render.disk_gc import gc_view

    with inside(sandbox, os.environ) as around:
        google = GoogleHttp.from_env(around.env)
        own = DiskImages(google, project_of(project, around.env))
        images = own.all()
        if unknown := sorted(set(families) - {image.family for image in images}):
            raise BadUsage(f"project {own.project} has no disk image of the family {unknown[0]}", "see `disks gc`")
        others = [DiskImages(google, name) for name in dict.fromkeys(used_in) if name != own.project]
        found = _users(around, [own, *others], kubeconfig)
        now = around.clock.now()
        policy = GcPolicy(keep, timedelta(seconds=grace), frozenset(families))
        decisions = decide_gc(images, found.uses, () if allow_unread else found.gaps, policy, now)
        view = gc_view(decisions, found.gaps, without_family(images), now, own.project, policy.grace)
        _print(view, found, output, no_headers)
        return _act(own, decisions, around, found, yes=yes, allow_unread=allow_unread)


def _act(
    own: DiskImages, decisions: list[GcDecision], around: Surrounding, found: Users, *, yes: bool, allow_unread: bool
) -> int:
    from kubectl_imagecache.core.disk_gc import GcAction
    from kubectl_imagecache.core.errors import UserError
    from kubectl_imagecache.render.text import neutral
    from kubectl_imagecache.usecases.disk_gc import act

    if found.gaps and yes and not allow_unread:
        raise UserError(
            f"nothing was changed: {found.gaps[0].what} could not be read",
            "mend that, or --allow-unread if no disk image is used there",
        )
    if all(decision.action is GcAction.KEEP for decision in decisions):
        return 0
    if not yes:
        sys.stderr.write("note: nothing was changed; add --yes\n")
        return 0

    def tell(decision: GcDecision, what: str) -> None:
        sys.stderr.write(f"{neutral(decision.image.ref.name)}: {neutral(what)}\n")

    return 1 if act(own, decisions, around.clock, tell) else 0


def _users(around: Surrounding, projects: list[DiskImages], kubeconfig: str) -> Users:
    from kubectl_imagecache.clients.gke import Gke
    from kubectl_imagecache.clients.google_http import GoogleHttp
    from kubectl_imagecache.clients.kube.by_cluster import Contexts
    from kubectl_imagecache.clients.kube.compute_classes import compute_class_uses
    from kubectl_imagecache.clients.kube.options import KubeOptions
    from kubectl_imagecache.clients.target import ClusterSummary
    from kubectl_imagecache.usecases.disk_gc import users

    contexts = Contexts.read(KubeOptions(kubeconfig=kubeconfig), around.env)

    def classes_of(cluster: ClusterSummary) -> list[DiskImageUse]:
        return compute_class_uses(contexts.connect(cluster).transport, cluster.name, cluster.project)

    return users(Gke(GoogleHttp.from_env(around.env)), projects, classes_of)


def project_of(named: str, env: Mapping[str, str]) -> str:
    """NAMED, or else gcloud's project; raises BadUsage if there is neither."""
    from kubectl_imagecache.clients.target import gcloud_config
    from kubectl_imagecache.core.errors import BadUsage

    found = named or gcloud_config(env).project
    if not found:
        raise BadUsage("the project is not known", "name it with --project")
    return found


def _print(view: Any, found: Users, output: str, no_headers: bool) -> None:
    from kubectl_imagecache.cli.answer import terminal, warning
    from kubectl_imagecache.render.output import write

    for gap in found.gaps:
        sys.stderr.write(warning(gap))
    sys.stdout.write(write(view, output, terminal(output, os.environ, sys.stdout, headers=not no_headers)))
    sys.stdout.flush()
