from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from tests.cli.test_bench import MAKE, TWO, run
from tests.cli.test_roll_docs import DOCS, deny_all_but, needed


def test_the_documented_roles_allow_what_a_bench_asks_and_nothing_more(tmp_path: Path) -> None:
    documented = {
        (group, resource, verb)
        for role in yaml.safe_load_all((DOCS / "rbac" / "bench.yaml").read_text(encoding="utf-8"))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    with Sandbox(Settings("bench")) as sandbox:
        sandbox.world.calls.clear()
        assert run(sandbox, tmp_path, *TWO)[0] == 0
        asked = {needed(call) for call in sandbox.world.calls if call.service == "kube"}
    assert asked == documented


@pytest.mark.parametrize("makes", [False, True], ids=["pools-that-are-there", "pools-of-its-own"])
def test_the_documented_permissions_are_all_that_a_bench_needs(tmp_path: Path, makes: bool) -> None:
    text = (DOCS / "permissions.md").read_text(encoding="utf-8").partition("## Google Cloud: bench\n")[2]
    table, _, more = text.partition("With `--create-pools`")
    allowed = set(re.findall(r"`((?:container|compute)\.\w+\.\w+)`", text if makes else table))
    assert more and allowed
    with Sandbox(Settings("bench")) as sandbox:
        deny_all_but(sandbox.cloud, allowed)
        code, _, err = run(sandbox, tmp_path, *(MAKE if makes else TWO))
        assert (code, "not permitted" in err) == (0, False), err
