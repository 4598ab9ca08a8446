"""Who this process is, in words that others can tell from every other process."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path


def identity() -> str:
    """Who holds a lock: USER@HOST/PID-PLACE."""
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or "somebody"
    return f"{user}@{socket.gethostname()}/{os.getpid()}-{_place()}"


def has_ended(who: str) -> bool:
    """Whether WHO is a process of this machine that is no more."""
    head, _, process = who.rpartition("/")
    pid, _, place = process.partition("-")
    if head.rpartition("@")[2] != socket.gethostname() or place != _place() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _place() -> str:
    """Where this process's number means this process: containers may share a host's name, and count from 1 each."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (the link's text is no path)
    except OSError:
        return "0"  # No Linux, so no containers that share a host's name.
    return hashlib.sha256(f"{boot}{space}".encode()).hexdigest()[:6]
