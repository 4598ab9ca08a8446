"""CPU of `rebuild` while a VM builds: python -m benchmarks.rebuild_wait [--seconds 120]

The program runs against a sandbox in this process, whose time is the real one; the VM reports as a busy builder does, a
line of progress for eight layers each second. Counted is the program's CPU from the first of them on, beside the wall
time: into a pipe, and on a terminal with its bars.
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from kubectl_imagecache.builder.report import Reporter
from kubectl_imagecache.sandbox.cloud import Machine
from kubectl_imagecache.sandbox.embedded import Sandbox, Settings

IMAGES = ("docker.io/envoyproxy/envoy:v1.31.2", "docker.io/library/redis:7.4.1-alpine")
LAYERS = 8
SIZE = 1 << 30
_SETTLE_S = 5.0


class LongBuild:
    """Plays a builder that brings eight large layers and isn't done before the benchmark is."""

    def __init__(self, machine: Machine, seconds: int) -> None:
        self.layers = [f"sha256:{number:064x}" for number in range(LAYERS)]
        self._out = io.StringIO()
        self._reporter = Reporter(self._out)
        self._machine = machine
        self._seconds = seconds

    def begin(self) -> None:
        """Report the images and the first progress; the rest comes by itself."""
        for image, layers in zip(IMAGES, (self.layers[:4], self.layers[4:]), strict=True):
            self._reporter.say("image", image=image, bytes=4 * SIZE, layers=layers, sizes=[SIZE] * 4)
        self._reporter.say("phase", phase="layers", layers=LAYERS, bytes=LAYERS * SIZE)
        self._step(0)

    def _step(self, second: int) -> None:
        here = SIZE * second // (self._seconds * 4)
        self._reporter.say(
            "progress", bytes=LAYERS * here, of=LAYERS * SIZE, layers={c: [here, SIZE] for c in self.layers}
        )
        self._machine.write_serial(self._out.getvalue())
        self._out.seek(0)
        self._out.truncate()
        self._machine.after(1.0, lambda: self._step(second + 1))


def measure(seconds: int, terminal: bool) -> tuple[float, float, int]:
    """CPU and wall seconds of the program, and its requests, from the first progress on."""
    with Sandbox(Settings(scenario="empty", speed=1.0)) as sandbox, tempfile.TemporaryDirectory() as home:
        sandbox.cloud.state.boot_hooks.clear()
        sandbox.cloud.on_boot(lambda machine: LongBuild(machine, seconds).begin())
        env = {**os.environ, **sandbox.env(), "HOME": home, "TERM": "xterm", "COLUMNS": "80"}
        for name in ("KUBECTL_IMAGECACHE_SANDBOX_CONTROL", "KUBECTL_IMAGECACHE_NOW"):
            env.pop(name)  # it waits as it does for a real cloud
        command = [sys.executable, "-c", "from kubectl_imagecache.cli.main import main; main()", "rebuild", "--yes"]
        command += [word for image in IMAGES for word in ("--image", image)] + ["--zone", "europe-west4-b"]
        ours, theirs = pty.openpty()
        threading.Thread(target=_drain, args=(ours,), daemon=True).start()
        with (Path(home) / "err").open("w+") as plain:
            process = subprocess.Popen(command, env=env, stdout=plain, stderr=theirs if terminal else plain)
            try:
                while not any("serialPort" in call.target for call in list(sandbox.world.calls)):
                    assert process.poll() is None, (Path(home) / "err").read_text()
                    time.sleep(0.5)
                time.sleep(_SETTLE_S)
                cpu, began, calls = _cpu_s(process.pid), time.monotonic(), len(sandbox.world.calls)
                time.sleep(seconds)
                assert process.poll() is None, (Path(home) / "err").read_text()
                return _cpu_s(process.pid) - cpu, time.monotonic() - began, len(sandbox.world.calls) - calls
            finally:
                process.kill()
                process.wait()
                os.close(theirs)


def _drain(terminal: int) -> None:
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        return  # the other end was closed


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=int, default=120)
    seconds = parser.parse_args().seconds
    for terminal in (False, True):
        cpu_s, wall_s, requests = measure(seconds, terminal)
        where = "on a terminal" if terminal else "into a pipe"
        print(
            f"{where}: {cpu_s:.2f} s of CPU in {wall_s:.0f} s = {cpu_s / wall_s:.2%}, {requests} requests", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
