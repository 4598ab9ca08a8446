"""The file .imagecache.yaml: what a team always passes as flags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubectl_imagecache.cli import quantities
from kubectl_imagecache.core.errors import BadUsage, NotFound

NAME = ".imagecache.yaml"
_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """What the file says; None where it says nothing."""

    min_coverage: float | None = None
    """0.0 to 1.0."""
    min_size: int | None = None
    """Bytes."""
    ignore: tuple[str, ...] | None = None
    rate: float | None = None
    """Bytes/s."""
    system: bool | None = None
    include_templates: bool | None = None


def find(start: Path) -> Path | None:
    """The file in START, else the one in the root of START's git repository; None if there is neither."""
    if (start / NAME).is_file():
        return start / NAME
    root = next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), None)
    return root / NAME if root is not None and (root / NAME).is_file() else None


def load(path: Path) -> Settings:
    """Read PATH; raise NotFound if it isn't there, BadUsage with file and line for what is wrong in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"no such file: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"{path} can't be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    if len(text) > _MAX_BYTES:
        raise BadUsage(f"{path} is longer than {_MAX_BYTES // 1024} KiB")
    return _settings(path, text)


def _settings(path: Path, text: str) -> Settings:
    import yaml  # only where there is a file

    loader = yaml.SafeLoader(text)
    found: dict[str, Any] = {}
    try:
        node = loader.get_single_node()
        if node is None:
            return Settings()
        if not isinstance(node, yaml.MappingNode):
            raise BadUsage(f"{path}, line 1: not a mapping of settings", f"write lines such as {_EXAMPLE}")
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in found:
                raise BadUsage(f"{path}, line {line}: {key!r} is set twice")
            found[key] = _setting(path, line, key, loader.construct_object(value_node, deep=True))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or "not YAML"
        raise BadUsage(f"{path}{where}: {why}") from error
    finally:
        loader.dispose()
    return Settings(**{key.replace("-", "_"): value for key, value in found.items()})


_EXAMPLE = "`min-coverage: 90%`"


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("write true or false")
    return value


def _patterns(value: object) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError("write a pattern or a list of patterns")
    return tuple(items)


def _scalar(read: Callable[[str], Any]) -> Callable[[object], Any]:
    def convert(value: object) -> Any:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError("write one value")
        return read(str(value))

    return convert


_KEYS: dict[str, Callable[[object], Any]] = {
    "min-coverage": _scalar(quantities.share),
    "min-size": _scalar(quantities.size),
    "ignore": _patterns,
    "rate": _scalar(quantities.rate),
    "system": _flag,
    "include-templates": _flag,
}


def _setting(path: Path, line: int, key: str, value: object) -> Any:
    if key not in _KEYS:
        import difflib

        near = difflib.get_close_matches(key, _KEYS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_KEYS)}"
        raise BadUsage(f"{path}, line {line}: unknown setting {key!r}", hint)
    try:
        return _KEYS[key](value)
    except ValueError as error:
        raise BadUsage(f"{path}, line {line}: {key}: {error}") from error
