"""Learn what a disk image holds, from its record or its disk, and write that to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kubectl_imagecache import __version__
from kubectl_imagecache.clients.compute import Compute
from kubectl_imagecache.clients.compute_build import BuildCompute
from kubectl_imagecache.core.adopt import Adoption, Described, adoption
from kubectl_imagecache.core.contents import Contents, ImageFacts, UnreadableRecord
from kubectl_imagecache.core.errors import AlreadyExists, BadAnswer, NotFound, UserError
from kubectl_imagecache.core.inspection import (
    Asked,
    Inspection,
    asked_of_record,
    asked_of_survey,
    disagreements,
    from_record,
    from_survey,
)
from kubectl_imagecache.core.pools import DiskImage, DiskImageRef, DiskState
from kubectl_imagecache.core.survey import Survey
from kubectl_imagecache.usecases.patience import OperationFailed, Patience, Tell

READER = f"kubectl-imagecache {__version__}"
TRIES = 5
"""Changes of the disk image by others, one after another, before we give up."""

AskRegistries = Callable[[Iterable[Asked]], dict[Asked, ImageFacts | UserError]]


def readable_image(compute: Compute, ref: DiskImageRef) -> DiskImage:
    """The disk image REF, if a disk can be made from it; raises NotFound and UserError, and what Compute raises."""
    image = compute.disk_image(ref)
    if image.state is DiskState.MISSING:
        raise NotFound(f"there is no disk image {ref}", "gcloud compute images list shows those of a project")
    if image.state not in (DiskState.READY, DiskState.DEPRECATED):
        raise UserError(f"{ref} is {image.state.value}: no disk can be made from it")
    return image


def of_record(image: DiskImage, ask: AskRegistries) -> Inspection:
    """What IMAGE's record says, its layers from the registries; raises BadUsage if it has no record."""
    return from_record(image, ask(asked_of_record(image)))


def of_survey(image: DiskImage, survey: Survey, ask: AskRegistries) -> Inspection:
    """What a reading of IMAGE's disk found, joined with what the registries say."""
    return from_survey(survey, image, ask(asked_of_survey(survey, image)), READER)


def check_adoptable(image: DiskImage) -> None:
    """Raise UserError if IMAGE has a record that only a newer version of this program can read: it isn't replaced."""
    if isinstance(image.contents, UnreadableRecord) and image.contents.newer:
        raise UserError(f"{image.ref} has a record already, {image.contents.why}", "update this program")


def planned(inspection: Inspection, found: Described) -> Adoption:
    """How the disk image's own words change if INSPECTION is written to it; raises BadUsage if it finds no room."""
    image = inspection.disk_image
    contents = inspection.contents
    if not contents.images:
        raise UserError(f"nothing was found on {image.ref} that could be recorded", "verify says what is wrong with it")
    # A true record is left alone.
    rewrite = isinstance(image.contents, Contents) and bool(disagreements(inspection))
    return adoption(found, contents, image.arch or _arch(contents), rewrite=rewrite)


def adopt(compute: BuildCompute, inspection: Inspection, patience: Patience, tell: Tell) -> Adoption:
    """Write what INSPECTION found to its disk image, and return what was changed; run again it changes nothing.

    The description goes first: with it the disk need never be read again. Raises UserError if the disk image was made
    again meanwhile, and what Compute refuses.
    """
    image = inspection.disk_image
    done = Adoption(None, None)
    for _ in range(TRIES):
        found = compute.described(image.ref)
        if found.image_id != image.id:
            raise BadAnswer(f"{image.ref} was made again while its former self was read", "run it again")
        step = planned(inspection, found)
        if step.nothing:
            return Adoption(done.description, done.labels, step.left_out or done.left_out)
        try:
            if step.description is not None:
                tell("writing", {"what": "the description", "why": str(image.ref)})
                operation = compute.describe_image(image.ref, step.description)
                done = Adoption(step.description, done.labels, step.left_out)
            else:
                tell("writing", {"what": "the labels", "why": str(image.ref)})
                operation = compute.label_image(image.ref, step.labels or {}, found.label_fingerprint)
                done = Adoption(done.description, step.labels, done.left_out)
            patience.finish(compute, operation, f"writing to {image.ref}", "run it again")
        except AlreadyExists as error:
            tell("retry", {"why": error.message})
            patience.wait()
    raise OperationFailed(f"{image.ref} is being changed by others again and again", "run it again later")


def _arch(contents: Contents) -> str:
    platforms = {image.platform for image in contents.images if image.platform}
    return platforms.pop().split("/")[1] if len(platforms) == 1 else ""
