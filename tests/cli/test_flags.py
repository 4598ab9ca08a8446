from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from kubectl_imagecache.cli.answer import policy, screen
from kubectl_imagecache.cli.config import Settings
from kubectl_imagecache.cli.connect import clock, kube_options
from kubectl_imagecache.cli.main import program_name
from kubectl_imagecache.cli.options import Flags, with_scenario
from kubectl_imagecache.clients.kube.options import KubeOptions
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.report import Policy
from kubectl_imagecache.render.screen import Screen

NOTHING = Flags(
    context="",
    kubeconfig="",
    cluster="",
    user="",
    as_user="",
    as_groups=(),
    as_uid="",
    server="",
    request_timeout=None,
    namespaces=(),
    all_namespaces=False,
    selector="",
    project="",
    location="",
    cluster_name="",
    include_templates=None,
    system=None,
    layers=False,
    min_coverage=None,
    min_size=None,
    ignore=(),
    rate=None,
    config=None,
    from_folder=None,
    save_folder=None,
    sandbox="",
    output="table",
    no_headers=False,
    color="auto",
    exit_code=False,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_name_in_help_is_the_one_that_was_typed() -> None:
    assert program_name({"_": "/home/me/.krew/bin/kubectl-imagecache"}) == "kubectl-imagecache"
    assert program_name({"_": "/usr/bin/kubectl"}) == program_name({}) == "kubectl imagecache"


def test_a_bare_sandbox_flag_is_spelled_out_up_to_the_double_dash() -> None:
    assert with_scenario(["--sandbox", "pool", "--", "--sandbox"]) == ["--sandbox=stale", "pool", "--", "--sandbox"]
    assert with_scenario(["--sandbox=huge"]) == ["--sandbox=huge"]


def test_without_flags_and_file_the_defaults_hold() -> None:
    assert policy(NOTHING, Settings()) == Policy()


def test_flags_win_over_the_file_and_patterns_add_up() -> None:
    settings = Settings(0.5, 7, ("a",), 3.0)
    assert policy(NOTHING, settings) == Policy(0.5, 7, ("a",), 3.0)
    flags = replace(NOTHING, min_coverage=0.0, min_size=0, ignore=("b",), rate=9.0)
    assert policy(flags, settings) == Policy(0.0, 0, ("a", "b"), 9.0)


@pytest.mark.parametrize(
    ("flags", "env", "terminal", "expected"),
    [
        (NOTHING, {}, False, Screen(None)),
        (NOTHING, {"COLUMNS": "80"}, False, Screen(80)),
        (NOTHING, {"COLUMNS": "100", "TERM": "xterm"}, True, Screen(100, colour=True)),
        (NOTHING, {"COLUMNS": "100", "NO_COLOR": "1"}, True, Screen(100)),
        (NOTHING, {"COLUMNS": "100", "TERM": "dumb"}, True, Screen(100)),
        (NOTHING, {"COLUMNS": "nonsense"}, False, Screen(None)),
        (replace(NOTHING, color="always"), {"NO_COLOR": "1"}, False, Screen(None, colour=True)),
        (replace(NOTHING, color="never"), {"COLUMNS": "90"}, True, Screen(90)),
        (replace(NOTHING, no_headers=True, output="wide"), {}, False, Screen(None, headers=False, wide=True)),
    ],
)
def test_the_screen_is_what_the_reader_has(flags: Flags, env: dict[str, str], terminal: bool, expected: Screen) -> None:
    assert screen(flags, env, Terminal() if terminal else io.StringIO()) == expected


def test_kubectls_flags_reach_the_kubernetes_client() -> None:
    flags = replace(
        NOTHING,
        context="c",
        kubeconfig="k",
        cluster="cl",
        user="u",
        as_user="au",
        as_groups=("g",),
        as_uid="id",
        server="s",
        request_timeout=5.0,
    )
    assert kube_options(flags) == KubeOptions(
        context="c",
        kubeconfig="k",
        cluster="cl",
        user="u",
        as_user="au",
        as_groups=("g",),
        as_uid="id",
        request_timeout_s=5.0,
        server="s",
    )


def test_the_present_can_be_given() -> None:
    moment = datetime(2026, 1, 15, 9, 0, tzinfo=timezone.utc)
    for text in ("2026-01-15T09:00:00Z", "2026-01-15T09:00:00+00:00", "2026-01-15T10:00:00+01:00", "2026-01-15T09:00"):
        assert clock({"KUBECTL_IMAGECACHE_NOW": text}).now() == moment
    before = datetime.now(timezone.utc)
    assert before <= clock({}).now() <= datetime.now(timezone.utc)
    with pytest.raises(BadUsage, match="no ISO 8601 time: 'yesterday'"):
        clock({"KUBECTL_IMAGECACHE_NOW": "yesterday"})
