from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from kubectl_imagecache.sandbox.embedded import Sandbox
from tests.cli.test_roll import AS_IT_WAS, ROLL, ROLLED
from tests.usecases.class_stage import NAME, class_stage, class_state
from tests.usecases.roll_stage import NEW, OLD, add_stuck, settings, stage, state_of


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settings()) as running:
        stage(running)
        add_stuck(running)
        running.world.clock.advance(300)
        yield running


class Terminal:
    """A roll on a terminal, that somebody types into."""

    def __init__(self, sandbox: Sandbox, home: Path, *what: str) -> None:
        self._ours, theirs = pty.openpty()
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "USER": "alice", "TERM": "xterm", **sandbox.env()}
        order = [word for word in what or ROLL if word != "--yes"]
        command = [sys.executable, "-m", "kubectl_imagecache", "roll", *order, "--drain-timeout", "10m"]
        self.process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.text = ""

    def answer(self, question: str, words: str) -> None:
        """Wait until QUESTION is there, and type WORDS."""
        start, until = len(self.text), time.monotonic() + 120
        while question not in self.text[start:]:
            assert self._read(until), self.text
        os.write(self._ours, words.encode())

    def end(self) -> int:
        """The exit code, once all is read."""
        until = time.monotonic() + 120
        while self._read(until):
            pass
        os.close(self._ours)
        return self.process.wait(timeout=30)

    def _read(self, until: float) -> bool:
        if not select.select([self._ours], [], [], max(0.0, until - time.monotonic()))[0]:
            return False
        try:
            self.text += os.read(self._ours, 65536).decode()
        except OSError:  # The other side is closed.
            return False
        return True


def test_whoever_sits_before_a_roll_that_stops_can_let_it_go_back(sandbox: Sandbox, tmp_path: Path) -> None:
    roll = Terminal(sandbox, tmp_path)
    roll.answer("Move all pods away from web now?", "y\n")
    roll.answer("What now? (go-on, roll-back, stop) [stop]:", "roll-back\n")
    assert roll.end() == 0
    assert "stopped: gke-" in roll.text
    assert "web is as it was" in roll.text
    assert state_of(sandbox) == {**AS_IT_WAS, "pods": {"web": 4}}


def test_or_go_on_once_the_cause_is_mended(sandbox: Sandbox, tmp_path: Path) -> None:
    roll = Terminal(sandbox, tmp_path)
    roll.answer("Move all pods away from web now?", "y\n")
    roll.answer("What now?", "")
    path = "apis/policy/v1/namespaces/default/poddisruptionbudgets/stuck"
    with urlopen(Request(f"{sandbox.url('kube')}/{path}", method="DELETE")) as deleted:
        assert deleted.status == 200
    roll.answer("", "go-on\n")
    assert roll.end() == 0
    assert state_of(sandbox) == {**ROLLED, "pods": {"web-r2": 4}}


def test_the_roll_of_a_class_that_stops_can_go_back_in_the_same_way(tmp_path: Path) -> None:
    with Sandbox(settings()) as sandbox:
        class_stage(sandbox, replicas=1, spare=0)
        roll = Terminal(sandbox, tmp_path, "--compute-class", NAME, "--disk-image", NEW.name)
        roll.answer("Move all pods off the old nodes of ComputeClass models now?", "y\n")
        roll.answer("What now? (go-on, roll-back, stop) [stop]:", "roll-back\n")
        assert roll.end() == 0
        assert "is not empty after 600 s" in roll.text
        harmless = {"pods": 1, "cordoned": 0, "marks": 0}
        assert class_state(sandbox) == {"class": [[OLD.name]], "nodes": [OLD.name], **harmless}


def test_or_leave_it_for_another_day(sandbox: Sandbox, tmp_path: Path) -> None:
    roll = Terminal(sandbox, tmp_path)
    roll.answer("Move all pods away from web now?", "y\n")
    roll.answer("What now?", "\n")
    assert roll.end() == 5
    assert "is not empty after 600 s" in roll.text
    assert set(state_of(sandbox)["pools"]) == {"web", "web-r2"}
