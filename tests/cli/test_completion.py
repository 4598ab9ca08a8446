from __future__ import annotations

import json
import shlex
from pathlib import Path

import pexpect
import pytest

from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from tests.cli.conftest import ROOT, Program

COMPLETIONS = ROOT / "completions"
FORMATS = ["table", "wide", "json", "yaml", "name", "csv", "markdown", "jsonpath=", "custom-columns="]
SCENARIOS = ["stale", "healthy", "unknown", "mixed", "broken", "pulls", "bench", "classes", "empty", "huge"]


def kubeconfig(folder: Path) -> Path:
    file = folder / "kubeconfig"
    contexts = [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in ("prod-eu", "prod-us", "test")]
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "contexts": contexts,
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
        "current-context": "test",
    }
    file.write_text(json.dumps(content))
    return file


def candidates(program: Program, *words: str, **env: str) -> tuple[list[str], str]:
    found = program.run("kubectl_complete-imagecache", *words, env=env)
    assert (found.returncode, found.stderr) == (0, "")
    *lines, directive = found.stdout.splitlines()
    return [line.partition("\t")[0] for line in lines], directive


def test_commands_complete_with_their_descriptions(program: Program) -> None:
    found = program.run("kubectl_complete-imagecache", "s")
    assert found.stdout == (
        "status\tWhich node pools' image caches are stale, why, and what to do.\n"
        "sandbox\tA cluster to try everything on, on this machine alone.\n"
        ":4\n"
    )


def test_values_of_flags_complete(program: Program) -> None:
    assert candidates(program, "status", "-o", "") == (FORMATS, ":4")
    assert candidates(program, "status", "--output=j") == (["json", "jsonpath="], ":4")
    assert candidates(program, "list", "-o", "jsonp") == (["jsonpath="], ":6")
    assert candidates(program, "diff", "--color", "a") == (["auto", "always"], ":4")
    assert candidates(program, "status", "--sandbox=") == (SCENARIOS, ":4")
    assert candidates(program, "status", "--sandbox", "--exit") == (["--exit-code"], ":4")
    assert candidates(program, "status", "--from", "") == ([], ":16")
    assert candidates(program, "status", "--kubeconfig", "") == ([], ":0")


def test_contexts_come_from_the_kubeconfig(program: Program, tmp_path: Path) -> None:
    file = str(kubeconfig(tmp_path))
    assert candidates(program, "status", "--context", "prod", KUBECONFIG=file) == (["prod-eu", "prod-us"], ":4")
    assert candidates(program, "status", "--kubeconfig", file, "--context", "t") == (["test"], ":4")


def test_pool_names_come_from_the_cluster_and_none_is_offered_twice(program: Program) -> None:
    pools, directive = candidates(program, "status", "--sandbox", "")
    assert len(pools) >= 3 and directive == ":4"
    assert candidates(program, "diff", "--sandbox", pools[0], "")[0] == pools[1:]


def test_pools_without_a_node_are_offered_too(program: Program) -> None:
    assert "trainer" in candidates(program, "status", "--sandbox=mixed", "")[0]


def test_a_roll_is_offered_pools_and_disk_images(program: Program) -> None:
    with Sandbox(Settings(scenario="stale")) as sandbox:
        env = sandbox.env()
        assert candidates(program, "roll", "in", **env) == (["inference"], ":4")
        found = candidates(program, "roll", "inference", "--disk-image", "inference-", **env)
    assert found == (["inference-2025-12", "inference-2026-01"], ":4")


def test_a_bench_is_offered_images_pools_and_disk_images(program: Program) -> None:
    with Sandbox(Settings(scenario="stale")) as sandbox:
        env = sandbox.env()
        assert candidates(program, "bench", "--pool", "in", **env) == (["inference"], ":4")
        assert candidates(program, "bench", "--pool", "web", "--pool", "w", **env) == ([], ":4")
        assert candidates(program, "bench", "--like", "ba", **env) == (["batch"], ":4")
        found = candidates(program, "bench", "--disk-image", "inference-", **env)
        images, _ = candidates(program, "bench", "--image", "docker.io/library/", **env)
    assert found == (["inference-2025-12", "inference-2026-01"], ":4")
    assert images == ["docker.io/library/redis:7.4.1-alpine"]


@pytest.mark.parametrize("broken", ["missing", "garbage", "unreachable"])
def test_completion_is_silent_where_nothing_can_be_read(program: Program, tmp_path: Path, broken: str) -> None:
    file = kubeconfig(tmp_path)
    if broken == "missing":
        file.unlink()
    elif broken == "garbage":
        file.write_text("{ not: [yaml")
    assert candidates(program, "status", "", KUBECONFIG=str(file)) == ([], ":4")


def test_the_real_kubectl_asks_us(program: Program) -> None:
    found = program.run("kubectl", "__complete", "imagecache", "status", "-o", "ya")
    assert found.stdout == "yaml\tthe whole document\n:4\n"
    found = program.run("kubectl", "__complete", "imagecache", "")
    assert found.stdout.splitlines()[-1] == ":4"
    assert [line.split("\t")[0] for line in found.stdout.splitlines()[:-1]] == [
        "status",
        "list",
        "diff",
        "pulls",
        "bench",
        "rebuild",
        "roll",
        "inspect",
        "verify",
        "disks",
        "sandbox",
        "version",
    ]


BASH_LINES = [
    ("kubectl-imagecache st", "status"),
    ("kubectl-imagecache status --exi", "status --exit-code"),
    ("kubectl-imagecache status -o ya", "-o yaml"),
    ("kubectl-imagecache status --output=mark", "--output=markdown"),
    ("kubectl-imagecache status --sandbox=he", "--sandbox=healthy"),
    ("kubectl-imagecache status --from ho", "--from home-folder/"),
    ("kubectl-imagecache status --kubeconfig a-f", "--kubeconfig a-file"),
]


def shell(program: Program, command: str, *args: str) -> pexpect.spawn[str]:
    (program.home / "home-folder").mkdir()
    (program.home / "a-file").write_text("")
    env = {**program.env, "PS1": "READY> ", "TERM": "dumb", "COLUMNS": "200"}
    return pexpect.spawn(
        command, list(args), env=env, cwd=str(program.home), encoding="utf-8", timeout=20, dimensions=(50, 200)
    )


def test_bash_completes_the_line(program: Program) -> None:
    bash = shell(program, "bash", "--norc", "--noprofile", "-i")
    bash.sendline(f"source {shlex.quote(str(COMPLETIONS / 'kubectl-imagecache.bash'))}; PS1='>'; echo LOA''DED")
    bash.expect("LOADED")
    for line, completed in BASH_LINES:
        bash.send(f"{line}\t")
        bash.expect_exact(completed)
        bash.sendcontrol("u")
    bash.sendline("exit")
    bash.expect(pexpect.EOF)


def test_zsh_completes_the_line(program: Program, tmp_path: Path) -> None:
    rc = program.home / ".zshrc"
    folder = shlex.quote(str(COMPLETIONS))
    rc.write_text(
        f"fpath=({folder} $fpath)\nautoload -Uz compinit && compinit -u -D\nPS1='>'\nunsetopt zle_bracketed_paste\n"
    )
    zsh = shell(program, "zsh", "-i")
    zsh.sendline("echo LOA''DED")
    zsh.expect("LOADED")
    for line, completed in BASH_LINES:
        zsh.send(f"{line}\t")
        zsh.expect_exact(completed.rpartition(" ")[2])
        zsh.sendcontrol("u")
    zsh.sendline("exit")
    zsh.expect(pexpect.EOF)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("kubectl-imagecache st", "status\tWhich node pools' image caches are stale, why, and what to do."),
        ("kubectl-imagecache status -o ya", "yaml\tthe whole document"),
        ("kubectl-imagecache status --output=ya", "--output=yaml\tthe whole document"),
        (
            "kubectl-imagecache status --sandbox=he",
            "--sandbox=healthy\tthree pools whose cache disks hold all that runs",
        ),
        ("kubectl-imagecache diff --al", "--all\tShow what stays as it is, too."),
    ],
)
def test_fish_completes_the_line(program: Program, line: str, expected: str) -> None:
    script = f"source {shlex.quote(str(COMPLETIONS / 'kubectl-imagecache.fish'))}; complete -C {shlex.quote(line)}"
    found = program.run("fish", "--no-config", "-c", script)
    assert expected in found.stdout.splitlines()
    assert found.stderr == ""
