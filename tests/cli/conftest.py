"""The real executables, as a shell would find them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubectl_imagecache.sandbox.embedded import Sandbox

ROOT = Path(__file__).parents[2]
_LAUNCHERS = {
    "kubectl-imagecache": "from kubectl_imagecache.cli.main import main; main()",
    "kubectl_complete-imagecache": "from kubectl_imagecache.cli.complete import main; main()",
}


@dataclass(frozen=True)
class Program:
    """Runs commands in a folder of their own, with the console scripts first on PATH and no user's settings."""

    bin: Path
    home: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment of every run."""
        return {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        }

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run COMMAND (its first word looked up on our PATH)."""
        return subprocess.run(
            ["/usr/bin/env", *command],
            env={**self.env, **(env or {})},
            cwd=cwd or self.home,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def imagecache(self, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `kubectl-imagecache ARGS` with the environment MORE added."""
        return self.run("kubectl-imagecache", *args, env=more)


@pytest.fixture(scope="session")
def launchers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the console scripts, as pip would write them for this Python."""
    folder = tmp_path_factory.mktemp("bin")
    for name, code in _LAUNCHERS.items():
        file = folder / name
        file.write_text(f"#!{sys.executable}\nimport sys; sys.path.insert(0, {str(ROOT)!r})\n{code}\n")
        file.chmod(0o755)
    return folder


@pytest.fixture
def program(launchers: Path, tmp_path: Path) -> Program:
    home = tmp_path / "home"
    home.mkdir()
    return Program(launchers, home)


def start(sandbox: Sandbox, home: Path, *args: str) -> subprocess.Popen[str]:
    """Begin `kubectl imagecache ARGS` on SANDBOX, as alice."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "USER": "alice", **sandbox.env()}
    command = [sys.executable, "-m", "kubectl_imagecache", *args]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(autouse=True, scope="session")
def heeding_ctrl_c() -> None:
    """A shell starts what it puts in the background deaf to Ctrl-C, and programs leave that to their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
