"""A sandbox that stays: one process in the background, found again through a locked state file."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubectl_imagecache.core.errors import Unavailable, UserError

if TYPE_CHECKING:
    from kubectl_imagecache.sandbox.embedded import Settings

STOP_TIMEOUT_S = 10.0
TICK_S = 0.5
"""Real seconds between two looks at the clock, for those who watch without asking."""


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox in the background."""

    pid: int
    scenario: str
    context: str
    """Of its kubeconfig."""
    env: Mapping[str, str]
    """What makes kubectl, gcloud and this program talk to it."""
    speed: float
    """Virtual seconds for each real one."""
    urls: Mapping[str, str]
    """Service (`kube`, `gke`, `compute`, `registry`) -> `http://127.0.0.1:PORT`."""


@dataclass(frozen=True, slots=True)
class Dead:
    """What a sandbox left that ended without being stopped."""

    pid: int
    scenario: str


VARIABLES = (
    "KUBECONFIG",
    "KUBECACHEDIR",
    "CLOUDSDK_CONFIG",
    "CLOUDSDK_CORE_PROJECT",
    "CLOUDSDK_AUTH_DISABLE_CREDENTIALS",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_ORGPOLICY",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING",
    "DOCKER_CONFIG",
    "KUBECTL_IMAGECACHE_REGISTRY_MIRRORS",
    "KUBECTL_IMAGECACHE_SANDBOX_CONTROL",
    "KUBECTL_IMAGECACHE_NOW",
)
"""Every variable of a sandbox's environment."""
_SAVED = "KUBECTL_IMAGECACHE_SAVED_"
"""Prefix under which a shell keeps the values that it had before."""


class AlreadyRunning(UserError):
    """There can be one at a time."""


class NotRunning(UserError):
    """There is none to look at."""


def state_folder(environ: Mapping[str, str]) -> Path:
    """Where the state is kept, made if need be, private to the user."""
    base = environ.get("XDG_RUNTIME_DIR", "")
    if not base or not Path(base).is_dir():
        base = environ.get("XDG_STATE_HOME", "") or str(Path.home() / ".local" / "state")
    folder = Path(base) / "kubectl-imagecache"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise UserError(f"{folder} is open to others", f"chmod 700 {folder}")
    return folder


def find(folder: Path) -> Running | Dead | None:
    """What is there: the lock is held for as long as the process lives, however it ends."""
    with _lock(folder, fcntl.LOCK_SH) as free:
        state = _read(folder)
        if state is None:
            return None
        if free is not None:
            return Dead(state["pid"], state["scenario"])
    return Running(state["pid"], state["scenario"], state["context"], state["env"], state["speed"], state["urls"])


def require(folder: Path) -> Running:
    """The sandbox that runs; raise NotRunning, with what became of the last one."""
    found = find(folder)
    if isinstance(found, Running):
        return found
    hint = "`sandbox start` starts one"
    if isinstance(found, Dead):
        died = f"the last one ({found.scenario}, pid {found.pid}) ended without being stopped"
        raise NotRunning(f"no sandbox is running: {died}", hint)
    raise NotRunning("no sandbox is running", hint)


def variables(running: Running) -> dict[str, str]:
    """The environment, with the sandbox's own present where that isn't everybody's."""
    found = dict(running.env)
    del found["KUBECTL_IMAGECACHE_NOW"]
    if running.speed != 1:
        import urllib.request

        with urllib.request.urlopen(f"{running.urls['kube']}/_sandbox/now", timeout=10) as answer:
            found["KUBECTL_IMAGECACHE_NOW"] = json.load(answer)["now"]
    return found


def within(variables: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str | None]:
    """What a shell with ENVIRON must set to look at the sandbox, its own values kept for `without`."""
    inside = environ.get("KUBECONFIG") == variables["KUBECONFIG"]
    own = {} if inside else {_SAVED + name: environ[name] for name in variables if name in environ}
    return {**own, **variables}


def without(environ: Mapping[str, str]) -> dict[str, str | None]:
    """What a shell with ENVIRON must set, or unset (None), to be as it was before."""
    saved = {name for name in environ if name.startswith(_SAVED)}
    return {name: environ.get(_SAVED + name) for name in VARIABLES} | dict.fromkeys(sorted(saved))


def start(folder: Path, settings: Settings) -> Running:
    """Leave a sandbox running in the background.

    Raises AlreadyRunning, or Unavailable if it does not come up.
    """
    with _lock(folder, fcntl.LOCK_EX) as free:
        if free is None:
            state = _read(folder)
            what = f" ({state['scenario']}, pid {state['pid']})" if state else ""
            raise AlreadyRunning(f"a sandbox is running already{what}", "`sandbox stop` ends it")
        _clean(folder)
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        if os.fork() == 0:
            # The child keeps the lock: it was taken on a descriptor that both have.
            os.close(reader)
            _become_daemon(folder, settings, writer)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            said = pipe.read()
    if said != "ready":
        raise Unavailable(f"the sandbox did not come up: {said or 'it died'}", f"see {folder / 'sandbox.log'}")
    return require(folder)


def stop(folder: Path) -> Running | Dead | None:
    """End the sandbox, and remove what it left; return what was there."""
    found = find(folder)
    if isinstance(found, Running):
        os.kill(found.pid, signal.SIGTERM)
        if not _wait_until_free(folder):
            os.kill(found.pid, signal.SIGKILL)
            _wait_until_free(folder)
    with _lock(folder, fcntl.LOCK_EX) as free:
        if free is not None:
            _clean(folder)
    return found


def _wait_until_free(folder: Path) -> bool:
    until = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < until:
        with _lock(folder, fcntl.LOCK_SH) as free:
            if free is not None:
                return True
        time.sleep(0.02)
    return False


@contextlib.contextmanager
def _lock(folder: Path, how: int) -> Iterator[int | None]:
    """Hold the lock and give its descriptor; None if a living sandbox has it.

    HOW is fcntl.LOCK_SH to look, which any number may do at once, or LOCK_EX to change something.
    """
    descriptor = os.open(folder / "sandbox.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor if _take(descriptor, how) else None
    finally:
        os.close(descriptor)


def _take(descriptor: int, how: int) -> bool:
    # Somebody may be having a look, which takes microseconds; a sandbox keeps the lock.
    for _ in range(5):
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def _become_daemon(folder: Path, settings: Settings, ready: int) -> None:
    """Turn the forked child into the background process; never returns."""
    code = 1
    try:
        os.setsid()
        log = os.open(folder / "sandbox.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for descriptor, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, target)
        os.chdir("/")
        _serve(folder, settings, ready)
        code = 0
    except BaseException as error:  # noqa: BLE001 (the last frame of the process: whatever it is, it is told)
        traceback.print_exc()
        with contextlib.suppress(OSError):
            os.write(ready, str(error).encode() or type(error).__name__.encode())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _serve(folder: Path, settings: Settings, ready: int) -> None:
    from kubectl_imagecache.sandbox.embedded import Sandbox

    signals = {signal.SIGTERM, signal.SIGINT}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Blocked before any thread begins, so that only sigtimedwait gets them.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with Sandbox(settings, folder / "sandbox") as sandbox:
        state = {
            "pid": os.getpid(),
            "scenario": settings.scenario,
            "speed": settings.speed,
            "context": sandbox.context,
            "urls": {name: sandbox.url(name) for name in ("kube", "gke", "compute", "registry")},
            "env": sandbox.env(),
        }
        _write(folder, state)
        os.write(ready, b"ready")
        os.close(ready)
        while signal.sigtimedwait(signals, TICK_S) is None:
            sandbox.tick()
    _clean(folder)


def _state_path(folder: Path) -> Path:
    return folder / "sandbox.json"


def _write(folder: Path, state: Mapping[str, Any]) -> None:
    fresh = folder / "sandbox.json.new"
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(state, indent=1))
    fresh.replace(_state_path(folder))


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads(_state_path(folder).read_text())
    except FileNotFoundError:
        return None
    return state


def _clean(folder: Path) -> None:
    _state_path(folder).unlink(missing_ok=True)
    shutil.rmtree(folder / "sandbox", ignore_errors=True)
