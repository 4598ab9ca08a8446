"""Which GKE cluster is meant: from flags, the kubeconfig's context, the API server's address, or gcloud."""

from __future__ import annotations

import configparser
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kubectl_imagecache.clients.google_auth import config_dir
from kubectl_imagecache.clients.http import is_loopback, split
from kubectl_imagecache.core.errors import BadUsage, NotFound, UserError
from kubectl_imagecache.core.views import Gap

FLAGS = ("--project", "--location", "--cluster-name")
HINT = "name it with --project, --location and --cluster-name"
WHAT = "GKE node pools"
# `gcloud container clusters get-credentials` names contexts so; none of the three parts can hold an underscore.
_CONTEXT = re.compile(r"gke_([^_/]+)_([^_/]+)_([^_/]+)")


@dataclass(frozen=True, slots=True)
class ClusterTarget:
    """A GKE cluster."""

    project: str
    location: str
    """Region or zone."""
    name: str
    how: str
    """How it was found: `from the context gke_p_l_n`."""


@dataclass(frozen=True, slots=True)
class ClusterSummary:
    """A cluster as GKE lists it."""

    project: str
    location: str
    name: str
    endpoints: frozenset[str] = frozenset()
    """Hosts (lower-case, no port) of its API server: public, private and DNS ones."""

    def __str__(self) -> str:
        return f"{self.name} in {self.location}"


@dataclass(frozen=True, slots=True)
class GcloudConfig:
    """What gcloud is set to; empty is unset."""

    project: str = ""
    region: str = ""
    zone: str = ""
    cluster: str = ""


ListClusters = Callable[[str], tuple[ClusterSummary, ...]]
"""All clusters of a project."""


def guess(
    flags: tuple[str, str, str],
    context: str,
    server: str,
    list_clusters: ListClusters | None,
    gcloud: Callable[[], GcloudConfig],
) -> ClusterTarget | Gap:
    """The cluster that is meant, or why none can be told.

    FLAGS are --project, --location and --cluster-name, empty if not given; each wins over what is guessed. Then the
    context `gke_PROJECT_LOCATION_NAME`, then the cluster whose API server is SERVER, then gcloud's configuration
    (only if the server's address does not speak against it). LIST_CLUSTERS None: GKE can't be asked.
    Raises UserError where several clusters fit, with their names; NotFound where the named one isn't there.
    """
    given = ", ".join(name for name, value in zip(FLAGS, flags, strict=True) if value)
    if all(flags):
        return ClusterTarget(*flags, how=f"from {'/'.join(FLAGS)}")
    project, location, name = flags
    if match := _CONTEXT.fullmatch(context):
        how = f"from {given} and the context {context}" if given else f"from the context {context}"
        return ClusterTarget(project or match[1], location or match[2], name or match[3], how)
    config = gcloud()
    project = project or config.project
    if not project:
        return Gap(WHAT, "the cluster's project is not known", HINT)
    listed: tuple[ClusterSummary, ...] | None = None
    # Behind a tunnel to this machine no address tells anything: without a name there is nothing to look for.
    if list_clusters is not None and (name or config.cluster or not is_loopback(server)):
        try:
            listed = list_clusters(project)
        except UserError as error:
            if not (name or config.cluster) or not (location or config.region or config.zone):
                return Gap(WHAT, f"which GKE cluster this is can't be told: {error.message}", error.hint or HINT)
    if listed is not None:
        by_address = [c for c in listed if _fits(c, location, name) and _address(server) in c.endpoints]
        if len(by_address) == 1:
            found = by_address[0]
            return ClusterTarget(found.project, found.location, found.name, "from the API server address")
    return _configured((project, location, name), server, listed, config, given)


def _configured(
    asked: tuple[str, str, str],
    server: str,
    listed: tuple[ClusterSummary, ...] | None,
    config: GcloudConfig,
    given: str,
) -> ClusterTarget | Gap:
    project, location, name = asked
    how = f"from {given} and gcloud's configuration" if given else "from gcloud's configuration"
    wanted = name or config.cluster
    if not name and listed is not None and server and not is_loopback(server):
        # gcloud's cluster is another one than kubectl's: its pools would be a false answer.
        return Gap(WHAT, f"no GKE cluster of project {project} has the API server {_address(server)}", HINT)
    if not wanted:
        return Gap(WHAT, f"which cluster of project {project} this is can't be told", HINT)
    locations = [location] if location else [place for place in (config.zone, config.region) if place]
    if listed is None:
        if len(locations) == 1:
            return ClusterTarget(project, locations[0], wanted, how)
        if locations:
            raise _ambiguous(wanted, [f"{wanted} in {place}" for place in locations])
        return Gap(WHAT, f"the location of cluster {wanted} is not known", HINT)
    named = [cluster for cluster in listed if cluster.name == wanted]
    if not named:
        near = difflib.get_close_matches(wanted, sorted({cluster.name for cluster in listed}), 3)
        hint = f"did you mean {' or '.join(near)}?" if near else HINT
        raise NotFound(f"project {project} has no GKE cluster {wanted} ({how})", hint)
    fitting = named
    if len(named) > 1 or location:
        fitting = [cluster for cluster in named if not locations or cluster.location in locations]
    if len(fitting) == 1:
        return ClusterTarget(project, fitting[0].location, wanted, how)
    raise _ambiguous(wanted, [str(cluster) for cluster in fitting or named])


def _ambiguous(name: str, candidates: list[str]) -> UserError:
    return UserError(
        f"several clusters could be meant by {name}: {', '.join(sorted(candidates))}", "name one with --location"
    )


def _fits(cluster: ClusterSummary, location: str, name: str) -> bool:
    return location in ("", cluster.location) and name in ("", cluster.name)


def _address(server: str) -> str:
    return (split(server if "//" in server else f"//{server}").hostname or "").lower()


def gcloud_config(env: Mapping[str, str]) -> GcloudConfig:
    """gcloud's active configuration: its files, and the CLOUDSDK_… variables over them.

    Raises BadUsage for a file that can't be read, with its line.
    """
    folder = config_dir(env)
    active = env.get("CLOUDSDK_ACTIVE_CONFIG_NAME") or _text(folder / "active_config").strip() or "default"
    file = folder / "configurations" / f"config_{active}"
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(_text(file), str(file))
    except configparser.MissingSectionHeaderError as error:
        raise BadUsage(f"{file}, line {error.lineno}: not an INI file") from error
    except configparser.ParsingError as error:
        raise BadUsage(f"{file}, line {error.errors[0][0]}: not an INI file") from error

    def setting(section: str, key: str) -> str:
        variable = f"CLOUDSDK_{section}_{key}".upper()
        return str(env.get(variable) or parser.get(section, key, fallback="") or "")

    return GcloudConfig(
        setting("core", "project"),
        setting("compute", "region"),
        setting("compute", "zone"),
        setting("container", "cluster"),
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"{file} can't be read as gcloud's configuration") from error
