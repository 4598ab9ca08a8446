"""The live view of a roll, as a terminal shows it."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from kubectl_imagecache.cli.roll_progress import Reporter
from kubectl_imagecache.core.roll import Done, Evict, Mark, RollPod, Step, Wait
from kubectl_imagecache.core.roll_event import RollEvent

START = datetime(2026, 1, 15, 9, tzinfo=timezone.utc)


class Screen:
    """Enough of a terminal: lines, carriage returns, cursor up and clear to the end; it fails where a line wraps."""

    def __init__(self, columns: int) -> None:
        self.lines: list[str] = [""]
        self.row = 0
        self._columns = columns

    def feed(self, text: str) -> None:
        for token in re.findall(r"\x1b\[[0-9]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
            if token == "\x1b[A":
                assert self.row > 0
                self.row -= 1
            elif token == "\x1b[J":
                del self.lines[self.row + 1 :]
                self.lines[self.row] = ""
            elif token == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif token != "\r":
                assert not token.startswith("\x1b"), token
                self.lines[self.row] += token


def watch(columns: int, home: Path, *args: str) -> tuple[int, str]:
    """The exit code of a roll on a terminal so wide, and all that it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "USER": "alice", "TERM": "xterm"}
    command = [sys.executable, "-m", "kubectl_imagecache", "roll", *args]
    process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # The other side is closed.
            break
        if not part:
            break
        written += part
    os.close(ours)
    return process.wait(timeout=60), written.decode()


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_steps_stay_and_what_passes_is_one_view(tmp_path: Path, columns: int) -> None:
    code, written = watch(columns, tmp_path, "web", "--disk-image", "web-2026-01", "--repin", "--sandbox")
    assert code == 0, written
    screen = Screen(columns)
    view = ""
    for part in written.split("\x1b[J"):
        screen.feed(part)
        if any("evicted pods are ending" in line for line in screen.lines):
            view = "\n".join(screen.lines[-3:])
        screen.feed("\x1b[J")
    said = [line[10:] for line in screen.lines if re.match(r"\d\d:\d\d:\d\d  ", line)]
    assert [line.partition(" gke-")[0] for line in said] == [
        "create the new pool",
        "let Deployment web/api-gateway, Deployment web/billing, Deployment web/chat-ui select web-r2",
        "cordon",
        "delete web",
        "web is replaced by web-r2",
    ]
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d  wait: \d+ evicted pods are ending\n"
        r" {10}\[[#.]{24}\] \d+ of \d+ pods moved\n"
        r" {10}web \d+ nodes -> web-r2 \d+ nodes",
        view,
    ), view


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def event(seconds: float, step: Step | None, left: int = 0, note: str = "") -> RollEvent:
    return RollEvent(START + timedelta(seconds=seconds), step, left, {"web": 2, "web-r2": 2}, note)


POD = RollPod("ns", "a-very-long-name-of-a-pod" * 5, "u", "node")


def test_no_line_of_the_view_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    reporter = Reporter(out, as_json=False)
    reporter.say(event(0, Evict((POD,)), 10))
    reporter.say(event(1, Wait("kept by budgets " * 20), 9))
    assert max(map(len, re.split(r"\x1b\[[AJ]|[\r\n]", out.getvalue()))) <= 59
    reporter.clear()
    screen = Screen(60)
    screen.feed(out.getvalue())
    assert screen.lines == [""]


def test_a_pipe_is_told_of_waiting_every_ten_seconds_and_of_all_else_once() -> None:
    out = io.StringIO()
    reporter = Reporter(out, as_json=False)
    for second in range(25):
        reporter.say(event(second, Wait(f"{30 - second} pods end"), 30 - second))
    reporter.say(event(25, Mark(("n1",), "kubectl-imagecache/draining")))
    reporter.say(event(26, None, note="a server is busy"))
    reporter.say(event(27, None, note="a server is busy"))
    reporter.say(event(28, Done("it is done")))
    assert out.getvalue().splitlines() == [
        "09:00:00  wait: 30 pods end (30 pods to move)",
        "09:00:10  wait: 20 pods end (20 pods to move)",
        "09:00:20  wait: 10 pods end (10 pods to move)",
        "09:00:25  empty n1",
        "09:00:26  try again: a server is busy",
        "09:00:28  it is done",
    ]
