"""`rebuild --roll`: hands the disk image that was built over to `roll`."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from kubectl_imagecache.cli.options import Flags
from kubectl_imagecache.cli.roll import Choice, plan_of, run_with
from kubectl_imagecache.cli.roll import roll as roll_command
from kubectl_imagecache.core.errors import BadUsage

if TYPE_CHECKING:
    from kubectl_imagecache.cli.connect import Surrounding
    from kubectl_imagecache.clients.google_http import GoogleHttp
    from kubectl_imagecache.core.plan import BuildPlan
    from kubectl_imagecache.core.pools import DiskImageRef

_SECTION = "The roll (with --roll), as in `roll`"


def roll_flags() -> list[click.Parameter]:
    """The flags that say how to roll, as `roll` itself has them."""
    found: list[click.Parameter] = []
    for param in roll_command.params:
        if getattr(param, "section", "") == "How":
            mine: Any = copy.copy(param)
            mine.section = _SECTION
            found.append(mine)
    return found


def chosen(pool: str, given: Mapping[str, Any], wanted: bool) -> Mapping[str, Any] | None:
    """All of `roll`'s flags for POOL, those GIVEN among them; None if no roll is WANTED.

    Raises BadUsage for a flag of the roll's without a roll.
    """
    if wanted:
        return {**roll_command.make_context("roll", [pool]).params, **given}
    context = click.get_current_context()
    for name in given:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise BadUsage(f"--{name.replace('_', '-')} says how to roll", "add --roll")
    return None


@dataclass(frozen=True, slots=True)
class HandOver:
    """A roll that follows a build."""

    flags: Flags
    around: Surrounding
    google: GoogleHttp
    given: Mapping[str, Any]

    def is_under_way(self, pool: str, cluster: str) -> bool:
        """Whether POOL of CLUSTER (GKE's whole name) is being replaced, or has been; raises UserError."""
        from kubectl_imagecache.clients.gke_roll import RollGke
        from kubectl_imagecache.clients.target import ClusterTarget
        from kubectl_imagecache.core.roll_pool import successors

        if not cluster.startswith("projects/"):
            return False
        _, project, _, location, _, name = cluster.split("/")
        found = RollGke(self.google, ClusterTarget(project, location, name, "")).cluster().get("nodePools") or ()
        return bool(successors({str(one.get("name")): one for one in found}, pool))

    def go_on(self, pool: str) -> int:
        """Go on with the roll of POOL that is under way; the exit code."""
        if self.flags.output != "json":
            sys.stderr.write(f"note: a roll of {pool} is under way already: nothing is built, it goes on\n")
        return self._run(pool, "")

    def fits(self, plan: BuildPlan, ref: DiskImageRef) -> bool:
        """Print the roll's checklist as it will be with the disk image REF of PLAN; whether nothing refuses."""
        from kubectl_imagecache.core.pools import DiskImage, DiskState

        if self.flags.output != "json":
            sys.stdout.write(f"\nThen, once {ref.name} is READY, the roll of {plan.pool}:\n")
        promised = DiskImage(ref, DiskState.READY, size_gb=plan.disk_size_gb, arch=plan.arch)
        choice = Choice(True, False, True, self.flags.output == "json", promised=promised)
        return run_with(self.flags, plan_of(plan.pool, self.given), str(ref), choice, self.around.env) == 0

    def roll(self, plan: BuildPlan, ref: DiskImageRef) -> int:
        """Roll PLAN's pool to REF, which is there; the exit code. Whoever is to be asked was asked before."""
        return self._run(plan.pool, str(ref))

    def _run(self, pool: str, disk_image: str) -> int:
        choice = Choice(False, False, True, self.flags.output == "json")
        return run_with(self.flags, plan_of(pool, self.given), disk_image, choice, self.around.env)
