"""The kubelet's words, by its version."""

from __future__ import annotations

import re


def minor(kubelet_version: str) -> int:
    """The minor version in `v1.32.2-gke.1000`; 32 if it can't be read."""
    found = re.match(r"^v?1\.(\d+)", kubelet_version)
    return int(found[1]) if found else 32


def go_duration(seconds: float, *, precise: bool = False) -> str:
    """Seconds as Go prints a time.Duration, truncated to milliseconds unless PRECISE (nanoseconds)."""
    nanos = int(seconds * 1_000_000_000)
    if not precise:
        nanos -= nanos % 1_000_000
    if nanos == 0:
        return "0s"
    if nanos < 1_000:
        return f"{nanos}ns"
    if nanos < 1_000_000:
        return f"{_decimal(nanos, 1_000)}µs"
    if nanos < 1_000_000_000:
        return f"{_decimal(nanos, 1_000_000)}ms"
    minutes, rest = divmod(nanos, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 1_000_000_000)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0") if rest else str(whole)


def pulled(image: str, seconds: float, waiting_s: float, size: int, version: int, container: str) -> str:
    """The message of a Pulled event after a pull; WAITING_S includes the pull itself."""
    text = f'Successfully pulled image "{image}" in '
    if version < 27:
        text += go_duration(seconds, precise=version < 26)
    else:
        text += f"{go_duration(seconds)} ({go_duration(waiting_s)} including waiting)"
    if version >= 30:
        text += f". Image size: {size} bytes."
    return _prefix(version, container) + text


def present(image: str, version: int, container: str) -> str:
    """The message of a Pulled event where nothing was pulled."""
    more = " and can be accessed by the pod" if version >= 35 else ""
    return _prefix(version, container) + f'Container image "{image}" already present on machine{more}'


def pulling(image: str, version: int, container: str) -> str:
    """The message of a Pulling event."""
    return _prefix(version, container) + f'Pulling image "{image}"'


def failed(image: str, reference: str) -> str:
    """The message of a Failed event: the registry doesn't know the image."""
    return (
        f'Failed to pull image "{image}": rpc error: code = NotFound desc = failed to pull and unpack image '
        f'"{reference}": failed to resolve reference "{reference}": {reference}: not found'
    )


def no_command(command: str) -> str:
    """The runtime's words on a command that the image doesn't have."""
    return (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
        f'unable to start container process: exec: "{command}": stat {command}: no such file or directory: unknown'
    )


def _prefix(version: int, container: str) -> str:
    return f"spec.containers{{{container}}}: " if version >= 35 else ""
