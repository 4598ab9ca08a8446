from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
import yaml

from kubectl_imagecache import __version__
from tests.cli.conftest import Program
from tests.schemas import BY_KIND, whole

SCENARIOS = {"stale": 3, "healthy": 0, "unknown": 4, "mixed": 4, "broken": 4, "empty": 0}
"""With the exit code that --exit-code gives."""
COMMANDS = {"status": "status-report", "list": "cached-image-list", "diff": "cache-diff"}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("cells", ["80", "200"])
def test_the_default_sandbox_looks_as_when_it_was_last_looked_at(
    program: Program, command: str, cells: str, golden: Callable[[str, str], None]
) -> None:
    found = program.imagecache(command, "--sandbox", COLUMNS=cells)
    assert (found.returncode, found.stderr) == (0, "")
    golden(f"{command}-{cells}.txt", found.stdout)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_looks_as_when_it_was_last_looked_at_and_exits_with_its_worst_state(
    program: Program, scenario: str, golden: Callable[[str, str], None]
) -> None:
    found = program.imagecache("status", f"--sandbox={scenario}", "--exit-code", COLUMNS="80")
    assert (found.returncode, found.stderr) == (SCENARIOS[scenario], "")
    golden(f"status-{scenario}.txt", found.stdout)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_document_of_every_scenario_follows_its_schema(program: Program, command: str, scenario: str) -> None:
    more = ["--layers"] if scenario in ("stale", "mixed") else []
    found = program.imagecache(command, f"--sandbox={scenario}", "-o", "json", *more)
    assert found.returncode == 0, found.stderr
    assert BY_KIND[whole(found.stdout)["kind"]] == COMMANDS[command]


def test_the_real_kubectl_runs_us_and_help_shows_what_was_typed(program: Program) -> None:
    through = program.run("kubectl", "imagecache", "status", "--help")
    assert through.stdout.startswith("Usage: kubectl imagecache status [OPTIONS] [POOL]...\n")
    assert "kubectl imagecache status --sandbox" in through.stdout
    alone = program.run("bash", "-c", "kubectl-imagecache status --help")
    assert alone.stdout.startswith("Usage: kubectl-imagecache status [OPTIONS] [POOL]...\n")
    assert "kubectl-imagecache status --sandbox" in alone.stdout
    same = program.run("kubectl", "imagecache", "status", "--sandbox", "-o", "name")
    assert same.stdout == program.imagecache("status", "--sandbox", "-o", "name").stdout
    assert same.stdout.startswith("nodepool/")


def test_versions(program: Program) -> None:
    assert program.imagecache("version").stdout == f"{__version__}\n"
    assert program.imagecache("--version").stdout.endswith(f" {__version__}\n")


@pytest.mark.parametrize(
    ("args", "code", "message", "hint"),
    [
        (["statsu"], 2, "No such command 'statsu'", "did you mean status?"),
        (["status", "--outptu", "json"], 2, "No such option --outptu", "did you mean --output?"),
        (["status", "-o", "jason"], 2, "unknown output format 'jason'", "one of table, wide, json"),
        (["status", "-o", "jsonpath={.x"], 2, "bad jsonpath '{.x': a { is not closed", "see https://"),
        (["status", "--sandbox=stele"], 2, "no sandbox scenario 'stele'", "there are "),
        (["status", "--sandbox", "--context", "c"], 2, "--sandbox and --context exclude each other", ""),
        (["status", "--sandbox", "--from", "."], 2, "--sandbox and --from exclude each other", ""),
        (["status", "-A", "-n", "web"], 2, "--all-namespaces and --namespace exclude each other", ""),
        (["status", "--min-coverage", "150%"], 2, "Invalid value for '--min-coverage': '150%' is no share", "see "),
        (["status", "--request-timeout", "soon"], 2, "Invalid value for '--request-timeout'", "see "),
        (["status", "inferense", "--sandbox"], 1, "no node pool 'inferense'", "did you mean inference?"),
        (["status", "--from", "nowhere"], 2, "nowhere is not a folder", ""),
        (["status", "--config", "none.yaml", "--sandbox"], 1, "no such file: none.yaml", ""),
        (["status", "--kubeconfig", "none"], 1, "", ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_a_hint(
    program: Program, args: list[str], code: int, message: str, hint: str
) -> None:
    found = program.imagecache(*args)
    lines = found.stderr.splitlines()
    assert (found.returncode, found.stdout) == (code, "")
    assert lines[0].startswith(f"error: {message}")
    assert len(lines) <= 2
    if hint:
        assert lines[1].startswith(f"hint: {hint}")


def test_debug_shows_where_an_error_comes_from(program: Program) -> None:
    found = program.imagecache("status", "nopool", "--sandbox", "--debug")
    assert found.returncode == 1
    assert "Traceback" in found.stderr and "NotFound" in found.stderr


def test_pools_narrow_and_a_bare_sandbox_flag_takes_no_pool_for_a_scenario(program: Program) -> None:
    assert program.imagecache("status", "--sandbox", "web", "batch", "-o", "name").stdout == (
        "nodepool/web\nnodepool/batch\n"
    )


def test_formats_of_one_answer_agree(program: Program) -> None:
    def status(output: str) -> str:
        return program.imagecache("status", "--sandbox", "-o", output).stdout

    document = json.loads(status("json"))
    names = [pool["name"] for pool in document["pools"]]
    assert yaml.safe_load(status("yaml")) == document
    assert status("jsonpath={.pools[*].name}") == " ".join(names)
    assert status('jsonpath={range .pools[*]}{.name}{"\\n"}{end}').split() == names
    assert [row["pool"] for row in csv.DictReader(io.StringIO(status("csv")))] == names
    assert [line.split()[0] for line in status("custom-columns=A:.name,B:.state").splitlines()[1:]] == names


def test_no_headers_leaves_rows_for_scripts(program: Program) -> None:
    rows = program.imagecache("status", "--sandbox", "--no-headers").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["batch", "default-pool", "inference", "web"]


def test_flags_come_before_the_file_and_patterns_add_up(program: Program) -> None:
    def state(*args: str) -> str:
        return program.imagecache(
            "status", "inference", "--sandbox", "-o", "jsonpath={.pools[0].coverage}", *args
        ).stdout

    everything = json.loads(state())
    (program.home / ".imagecache.yaml").write_text("ignore: ['*/vllm-server:*']\nmin-size: 1GiB\n")
    by_file = json.loads(state())
    by_both = json.loads(state("--ignore", "*/reranker:*"))
    assert everything["images"]["whole"] > by_file["images"]["whole"] > by_both["images"]["whole"]
    assert json.loads(state("--min-size", "0"))["images"]["whole"] > by_file["images"]["whole"]
    (program.home / ".imagecache.yaml").write_text("ignored: []\n")
    broken = program.imagecache("status", "--sandbox")
    assert broken.returncode == 2
    assert broken.stderr == (
        f"error: {program.home}/.imagecache.yaml, line 1: unknown setting 'ignored'\nhint: did you mean ignore?\n"
    )


def test_a_threshold_makes_a_pool_fresh(program: Program) -> None:
    jsonpath = "jsonpath={.pools[0].state}"
    args = ["status", "embed", "--sandbox=mixed", "-o", jsonpath]
    assert program.imagecache(*args).stdout == "STALE"
    assert program.imagecache(*args, "--min-coverage", "0").stdout == "FRESH"


def test_what_is_saved_reads_back_the_same_without_a_cluster(program: Program, tmp_path: Path) -> None:
    saved = tmp_path / "bundle"
    live = program.imagecache("status", "--sandbox", "-o", "json", "--save", str(saved))
    assert live.returncode == 0, live.stderr
    now = json.loads(live.stdout)["observedAt"]
    offline = program.imagecache("status", "--from", str(saved), "-o", "json", KUBECTL_IMAGECACHE_NOW=now)
    assert offline.returncode == 0, offline.stderr

    def states(text: str) -> dict[str, str]:
        return {pool["name"]: pool["state"] for pool in json.loads(text)["pools"]}

    assert states(offline.stdout) == states(live.stdout)
    assert json.loads(offline.stdout)["source"] == f"files in {saved}"


def test_colour_is_for_terminals_and_obeys(program: Program) -> None:
    def shown(*args: str, **env: str) -> str:
        command = ["/usr/bin/env", "kubectl-imagecache", "status", "--sandbox=healthy", *args]
        found = pexpect.run(
            " ".join(command), env={**program.env, **env}, cwd=str(program.home), encoding="utf-8", timeout=60
        )
        return str(found).split("POOL")[-1]

    green = "\x1b[32mFRESH\x1b[0m"
    assert green in shown()
    assert green not in shown(NO_COLOR="1")
    assert green not in shown("--color=never")
    assert green not in shown(TERM="dumb")
    assert "\x1b" not in program.imagecache("status", "--sandbox=healthy").stdout
    assert green in program.imagecache("status", "--sandbox=healthy", "--color=always").stdout


def test_a_reader_that_leaves_is_no_error(program: Program) -> None:
    script = "kubectl-imagecache list --sandbox -o json | head -c 1; echo; echo ${PIPESTATUS[0]}"
    found = program.run("bash", "-c", script)
    assert found.stderr == ""
    assert found.stdout.startswith("{\n")


def test_ctrl_c_ends_without_a_traceback(program: Program) -> None:
    blocked = subprocess.Popen(
        ["/usr/bin/env", "kubectl-imagecache", "status", "--sandbox=huge"],
        env=program.env,
        cwd=program.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(1.0)
    os.kill(blocked.pid, signal.SIGINT)
    out, err = blocked.communicate(timeout=60)
    assert (blocked.returncode, out, err.strip()) == (130, "", "")


def test_the_sandbox_leaves_nothing_behind(program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    found = program.imagecache("status", "--sandbox", "--layers", TMPDIR=str(folder))
    assert found.returncode == 0
    assert list(folder.iterdir()) == []
    assert list(program.home.iterdir()) == []
