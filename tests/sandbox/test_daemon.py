"""`sandbox start`, `env`, `stop` as real processes, with the sandbox killed in between."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

import kubectl_imagecache
from kubectl_imagecache.sandbox.daemon import VARIABLES
from kubectl_imagecache.sandbox.scenarios import SCENARIOS

PROGRAM = (
    "import sys; from kubectl_imagecache.cli.main import main; sys.argv[0] = 'kubectl-imagecache'; sys.exit(main())"
)


class Shell:
    """A user's shell with a home of its own."""

    def __init__(self, home: Path) -> None:
        self.runtime = home / "run"
        self.runtime.mkdir(mode=0o700)
        self.state = self.runtime / "kubectl-imagecache"
        root = str(Path(kubectl_imagecache.__file__).parents[1])
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": root, "LANG": "C.UTF-8"}
        self.env["XDG_RUNTIME_DIR"] = str(self.runtime)

    def sandbox(self, *argv: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, "sandbox", *argv]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120, check=False)

    def pid(self) -> int:
        return int(json.loads((self.state / "sandbox.json").read_text())["pid"])

    def left(self) -> set[str]:
        return {path.name for path in self.state.iterdir()} - {"sandbox.lock", "sandbox.log"}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.sandbox("stop")


def _wait_for_the_end_of(pid: int) -> None:
    """Until the process is gone, or a zombie that nobody reaps."""
    stat = Path(f"/proc/{pid}/stat")
    until = time.monotonic() + 10
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until
        time.sleep(0.01)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    _wait_for_the_end_of(pid)


def test_sandbox_stays_after_start_answers_kubectl_and_is_gone_after_stop(shell: Shell) -> None:
    started = shell.sandbox("start", "empty")
    assert (started.returncode, started.stderr) == (0, "")
    assert started.stdout.startswith(f"sandbox empty is running (pid {shell.pid()}); look at it with\n")
    exports = shell.sandbox("env").stdout
    look = "kubectl get nodes -o name && kubectl config current-context"
    seen = subprocess.run(["sh", "-c", exports + look], env=shell.env, capture_output=True, text=True, check=True)
    *nodes, context = seen.stdout.split()
    assert len(nodes) == 2
    assert all(node.startswith("node/gke-empty-default-pool-") for node in nodes)
    assert context == "gke_sandbox-project_europe-west4_empty"
    pid = shell.pid()
    stopped = shell.sandbox("stop")
    assert (stopped.returncode, stopped.stdout) == (0, f"sandbox empty (pid {pid}) has ended\n")
    _wait_for_the_end_of(pid)
    assert shell.left() == set()
    assert shell.sandbox("stop").stdout == "no sandbox is running\n"


def test_second_start_says_that_one_is_running_and_leaves_it_alone(shell: Shell) -> None:
    shell.sandbox("start", "empty")
    pid = shell.pid()
    second = shell.sandbox("start", "stale")
    assert second.returncode == 1
    assert second.stdout == ""
    assert f"a sandbox is running already (empty, pid {pid})" in second.stderr
    assert "Traceback" not in second.stderr
    assert shell.pid() == pid


def test_of_two_starts_at_once_one_wins(shell: Shell) -> None:
    command = [sys.executable, "-c", PROGRAM, "sandbox", "start", "empty"]
    both = [
        subprocess.Popen(command, env=shell.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert [err.startswith("error: a sandbox is running already") for out, err in said if not out] == [True]
    assert shell.sandbox("env").returncode == 0


def test_sandbox_that_is_asked_to_end_by_a_signal_cleans_up(shell: Shell) -> None:
    shell.sandbox("start", "empty")
    pid = shell.pid()
    os.kill(pid, signal.SIGTERM)
    _wait_for_the_end_of(pid)
    assert shell.left() == set()
    assert shell.sandbox("env").stderr.startswith("error: no sandbox is running\n")


def test_sandbox_that_cannot_come_up_says_why_and_leaves_nothing(shell: Shell) -> None:
    shell.state.mkdir(mode=0o700)
    (shell.state / "sandbox").write_text("in the way")
    started = shell.sandbox("start", "empty")
    assert started.returncode == 1
    assert started.stderr.startswith("error: the sandbox did not come up: ")
    assert f"hint: see {shell.state / 'sandbox.log'}" in started.stderr
    assert "FileExistsError" in (shell.state / "sandbox.log").read_text()
    assert shell.sandbox("env").returncode == 1


def test_killed_sandbox_is_told_of_and_swept_away(shell: Shell) -> None:
    shell.sandbox("start", "empty")
    pid = shell.pid()
    _kill(pid)
    assert shell.left() == {"sandbox.json", "sandbox"}
    env = shell.sandbox("env")
    assert (env.returncode, env.stdout) == (1, "")
    assert f"the last one (empty, pid {pid}) ended without being stopped" in env.stderr
    stopped = shell.sandbox("stop")
    assert stopped.stdout == f"sandbox empty (pid {pid}) had already died; removed what it left\n"
    assert shell.left() == set()
    assert "no sandbox is running\n" in shell.sandbox("env").stderr


def test_start_after_a_kill_begins_anew(shell: Shell) -> None:
    shell.sandbox("start", "empty")
    killed = shell.pid()
    _kill(killed)
    started = shell.sandbox("start", "empty")
    assert (started.returncode, started.stderr) == (0, "")
    assert shell.pid() != killed
    assert shell.sandbox("env").returncode == 0


def test_env_names_every_variable_that_unset_takes_back(shell: Shell) -> None:
    shell.sandbox("start", "empty", "--speed", "0")
    exported = json.loads(shell.sandbox("env", "-o", "json").stdout)
    assert tuple(exported) == VARIABLES
    assert shell.sandbox("env", "--unset").stdout == "".join(f"unset {name}\n" for name in VARIABLES)
    exports = shell.sandbox("env").stdout
    show = subprocess.run(["sh", "-c", exports + "env"], env=shell.env, capture_output=True, text=True, check=True)
    seen = dict(line.split("=", 1) for line in show.stdout.splitlines())
    assert {name: seen[name] for name in exported} == exported


def test_unset_gives_the_users_own_values_back_even_after_entering_twice(shell: Shell) -> None:
    shell.sandbox("start", "empty")
    shell.env |= {"KUBECONFIG": "/home/me/my config", "DOCKER_CONFIG": "/home/me/docker"}
    print_env = f"{shlex.quote(sys.executable)} -c {shlex.quote(PROGRAM)} sandbox env"
    enter, leave = f'eval "$({print_env})"', f'eval "$({print_env} --unset)"'
    script = "\n".join((enter, enter, "kubectl config current-context", leave, "env"))
    done = subprocess.run(["sh", "-c", script], env=shell.env, capture_output=True, text=True, check=True)
    context, *lines = done.stdout.splitlines()
    assert context == "gke_sandbox-project_europe-west4_empty"
    after = dict(line.split("=", 1) for line in lines)
    touched = {name: value for name, value in after.items() if name in VARIABLES or "IMAGECACHE" in name}
    assert touched == {"KUBECONFIG": "/home/me/my config", "DOCKER_CONFIG": "/home/me/docker"}


def test_time_runs_with_the_real_clock_unless_told_otherwise(shell: Shell) -> None:
    before = datetime.now(timezone.utc)
    shell.sandbox("start", "empty")
    state = json.loads((shell.state / "sandbox.json").read_text())
    with urllib.request.urlopen(f"{state['urls']['kube']}/_sandbox/now", timeout=10) as answer:
        now = datetime.fromisoformat(json.load(answer)["now"])
    assert before <= now <= datetime.now(timezone.utc)
    assert "KUBECTL_IMAGECACHE_NOW" not in json.loads(shell.sandbox("env", "-o", "json").stdout)


def test_what_is_kept_is_private(shell: Shell) -> None:
    shell.sandbox("start", "empty")
    paths = [shell.state, *shell.state.rglob("*")]
    assert {path.name for path in paths} >= {"sandbox.json", "kubeconfig", "config.json"}
    assert [path for path in paths if path.stat().st_mode & 0o077 and path.parent == shell.state] == []


def test_folder_open_to_others_is_refused(shell: Shell) -> None:
    shell.state.mkdir(mode=0o755)
    started = shell.sandbox("start", "empty")
    assert started.returncode == 1
    assert "is open to others" in started.stderr


def test_list_names_every_scenario(shell: Shell) -> None:
    lines = shell.sandbox("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(SCENARIOS)


def test_unknown_scenario_is_bad_usage(shell: Shell) -> None:
    refused = shell.sandbox("start", "stal")
    assert refused.returncode == 2
    assert "no sandbox scenario 'stal'" in refused.stderr
