"""The kubeconfig as kubectl reads it: files found, merged, and one context chosen."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kubectl_imagecache.clients.kube.options import KubeOptions
from kubectl_imagecache.core.errors import BadAnswer, NotFound, UserError

_SECTIONS = {"clusters": "cluster", "contexts": "context", "users": "user"}
_PATHS = {"clusters": ("certificate-authority",), "users": ("client-certificate", "client-key", "tokenFile")}
"""Fields that hold a path, relative to the file that they are in."""


@dataclass(frozen=True, slots=True)
class Merged:
    """All kubeconfig files in one, paths absolute; by section and name, the first file wins."""

    files: tuple[Path, ...]
    """Those that were read."""
    current: str
    """current-context; empty if none is set."""
    sections: Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Choice:
    """The cluster and user that are meant."""

    context: str
    """The context's name; empty within a cluster."""
    namespace: str
    user_name: str
    cluster: Mapping[str, Any]
    user: Mapping[str, Any]


def find_files(options: KubeOptions, env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """The kubeconfig files that exist, in kubectl's order: --kubeconfig, $KUBECONFIG, ~/.kube/config.

    Raises NotFound if the one that --kubeconfig names does not exist.
    """
    if options.kubeconfig:
        named = Path(options.kubeconfig).expanduser()
        if not named.is_file():
            raise NotFound(f"no such kubeconfig: {named}", "check --kubeconfig")
        return (named,)
    listed = [Path(text) for text in env.get("KUBECONFIG", "").split(os.pathsep) if text]
    return tuple(path for path in listed or [home / ".kube" / "config"] if path.is_file())


def merge(files: tuple[Path, ...]) -> Merged:
    """Read and merge FILES; raise BadAnswer with file and line for what is not a kubeconfig."""
    current = ""
    sections: dict[str, dict[str, Mapping[str, Any]]] = {section: {} for section in _SECTIONS}
    for path in files:
        document = _load(path)
        current = current or str(document.get("current-context") or "")
        for section, key in _SECTIONS.items():
            for entry in document.get(section) or []:
                if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                    raise BadAnswer(f"{path}: an entry of {section} has no name")
                value = entry.get(key) or {}
                if not isinstance(value, dict):
                    raise BadAnswer(f"{path}: {section} entry {entry['name']!r} has no fields")
                sections[section].setdefault(entry["name"], _absolute(section, value, path.parent.absolute()))
    return Merged(files, current, sections)


def choose(merged: Merged, options: KubeOptions) -> Choice:
    """The context, cluster and user that OPTIONS name, or the current ones; raise NotFound, with the nearest name."""
    name = options.context or merged.current
    contexts = merged.sections["contexts"]
    if not name and not (options.cluster or options.server):
        raise UserError(
            f"no current context in {_names(merged)}",
            "kubectl config use-context NAME, or --context NAME" + _listed(contexts),
        )
    context = _find(contexts, name, "context", merged) if name else {}
    cluster_name = options.cluster or str(context.get("cluster") or "")
    user_name = options.user or str(context.get("user") or "")
    cluster = dict(_find(merged.sections["clusters"], cluster_name, "cluster", merged)) if cluster_name else {}
    if options.server:
        cluster["server"] = options.server
    cluster["server"] = _address(cluster, f"cluster {cluster_name!r} of context {name!r} in {_names(merged)}")
    user = _find(merged.sections["users"], user_name, "user", merged) if user_name else {}
    return Choice(name, str(context.get("namespace") or "default"), user_name, cluster, user)


def _address(cluster: Mapping[str, Any], whose: str) -> str:
    """The API server's URL; without a scheme it is what client-go takes it for. Raises UserError if it is none."""
    server = cluster.get("server")
    if not isinstance(server, str) or not server:
        raise UserError(f"no API server is named by {whose}", "check it with: kubectl config view")
    if "://" not in server:
        secure = any(cluster.get(key) for key in ("certificate-authority", "certificate-authority-data"))
        server = f"{'https' if secure else 'http'}://{server}"
    try:
        parts = urlsplit(server)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or any(c.isspace() for c in server):
        raise UserError(f"not the URL of an API server: {whose}", "expected https://HOST[:PORT]")
    return server


def _load(path: Path) -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(path.read_bytes(), Loader=loader)
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadAnswer(f"{path}{where}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise BadAnswer(f"{path}: not YAML: it holds characters or values that YAML does not allow") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise BadAnswer(f"{path}: not a kubeconfig: expected a mapping with clusters, contexts and users")
    for section in _SECTIONS:
        if not isinstance(document.get(section) or [], list):
            raise BadAnswer(f"{path}: not a kubeconfig: {section} should be a list")
    return document


def _absolute(section: str, fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    absolute = dict(fields)
    for key in _PATHS.get(section, ()):
        if isinstance(absolute.get(key), str) and absolute[key]:
            absolute[key] = str(folder / absolute[key])
    plugin = absolute.get("exec")
    if section == "users" and isinstance(plugin, dict):
        command = plugin.get("command")
        # As kubectl does: a bare name is looked for in PATH, a relative path is the file's neighbour.
        if isinstance(command, str) and os.sep in command and not Path(command).is_absolute():
            absolute["exec"] = {**plugin, "command": str(folder / command)}
    return absolute


def _find(entries: Mapping[str, Mapping[str, Any]], name: str, kind: str, merged: Merged) -> Mapping[str, Any]:
    if name in entries:
        return entries[name]
    near = difflib.get_close_matches(name, entries, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are none like it{_listed(entries)}"
    raise NotFound(f"no {kind} {name!r} in {_names(merged)}", hint)


def _listed(entries: Mapping[str, object]) -> str:
    names = sorted(entries)
    more = ", …" if len(names) > 8 else ""
    return f"; there are: {', '.join(names[:8])}{more}" if names else ""


def _names(merged: Merged) -> str:
    return ", ".join(map(str, merged.files)) or "the kubeconfig"
