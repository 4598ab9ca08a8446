"""Runs a VM's start-up script for real: on this machine, with a file for the VM's disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from kubectl_imagecache.builder.report import read
from kubectl_imagecache.core.build_requests import DEVICE
from kubectl_imagecache.sandbox.cloud import Held, Machine

TOOLS = ("unshare", "losetup", "mkfs.ext4", "e2fsck", "mount", "python3")
END_S = 10.0
"""How long a script that is told to end may take to unmount."""
# A mount namespace of its own, in which only the VM's disk is under /dev/disk.
_IN_A_MACHINE = """
set -e
mkdir -p /dev/disk
mount -t tmpfs none /dev/disk
mkdir -p /dev/disk/by-id
ln -s "$1" "/dev/disk/by-id/google-$2"
exec sh
"""


def missing() -> str:
    """What this machine lacks to be a VM, in words; empty if it lacks nothing."""
    lacks = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0:
        lacks.insert(0, "root")
    return ", ".join(lacks)


class RealVms:
    """The machines of one sandbox that run here."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        """FOLDER tells where the disks go that are built: sparse files, named for their VMs."""
        self._folder = folder
        self._running: dict[str, _Vm] = {}

    def boot(self, machine: Machine) -> None:
        """Run MACHINE's start-up script beside the sandbox; until it ends the sandbox's time is real time."""
        disk = next(d for d in machine.instance["disks"] if d["deviceName"] == DEVICE)
        file = machine.disk(DEVICE).file if disk["mode"] == "READ_ONLY" else None
        if file is None:
            folder = self._folder()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = folder / f"{machine.instance['name']}.ext4"
            with file.open("wb") as out:
                out.truncate(int(disk["diskSizeGb"]) << 30)
            machine.write_disk(DEVICE, Held(file=file))
        if self._gone not in machine.state.on_gone:
            machine.state.on_gone.append(self._gone)
        vm = self._running[machine.path] = _Vm(machine, file, disk["mode"] == "READ_ONLY")
        vm.thread.start()

    def _gone(self, state: object, instance: dict[str, object]) -> None:
        for path, vm in list(self._running.items()):
            if path.rpartition("/")[2] == instance["name"]:
                vm.end()
                del self._running[path]

    def stop(self) -> None:
        """End them all, and wait until none has its disk mounted."""
        vms = list(self._running.values())
        for vm in vms:
            vm.end()
        for vm in vms:
            vm.thread.join(END_S)


class _Vm:
    """One boot of one machine: a thread that reads what the script writes."""

    def __init__(self, machine: Machine, file: Path, read_only: bool) -> None:
        self._machine, self._file, self._read_only = machine, file, read_only
        self._process: subprocess.Popen[str] | None = None
        self._ended = False
        self._real = False
        self._in_real_time(True)
        self.thread = threading.Thread(target=self._run, name=f"vm-{file.stem}", daemon=True)

    def end(self) -> None:
        """Pull the plug, softly: the script unmounts."""
        self._ended = True
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)

    def _run(self) -> None:
        world = self._machine.state.world
        try:
            way = ["--read-only"] if self._read_only else []
            device = _output("losetup", "--find", "--show", *way, str(self._file))
            held = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
            try:
                # Detached now, it goes once nobody has it open: also if this process is killed.
                _output("losetup", "--detach", device)
                self._script(device, held)
            finally:
                os.close(held)
        except (OSError, subprocess.SubprocessError) as error:
            self._write(f"the sandbox can't play the VM's hardware: {error}\n")
        finally:
            with world.lock:
                self._in_real_time(False)
                world.changed.notify_all()

    def _done(self, layers: list[str]) -> None:
        if self._read_only:
            # What it says from now on it only says again.
            self._in_real_time(False)
        else:
            self._machine.write_disk(DEVICE, Held(frozenset(layers), file=self._file))

    def _in_real_time(self, real: bool) -> None:
        if real != self._real:
            self._real = real
            self._machine.state.world.clock.real += 1 if real else -1

    def _script(self, device: str, held: int) -> None:
        layers: list[str] = []
        command = ["unshare", "-m", "sh", "-c", _IN_A_MACHINE, "sh", device, DEVICE]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            pass_fds=(held,),
        ) as process:
            self._process = process
            if self._ended:
                self.end()
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(self._machine.metadata("startup-script"))
            process.stdin.close()
            for line in process.stdout:
                event = read(line)
                if event is not None and event.name == "layer":
                    layers.append(str(event.fields["layer"]))
                if event is not None and event.name == "done":
                    with self._machine.state.world.lock:
                        self._done(layers)
                self._write(line)

    def _write(self, text: str) -> None:
        with self._machine.state.world.lock:
            self._machine.write_serial(text)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
