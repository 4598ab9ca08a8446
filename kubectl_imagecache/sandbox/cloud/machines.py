"""The life of a virtual machine: it boots, is scripted, stops, and goes with its disks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kubectl_imagecache.sandbox.cloud import disks
from kubectl_imagecache.sandbox.cloud.errors import ApiError
from kubectl_imagecache.sandbox.cloud.links import zone_of
from kubectl_imagecache.sandbox.cloud.state import COMPUTE_URL, Held, Json, SerialPort, State, run

GUEST_VALUE_BYTES = 32 * 1024
"""The longest value of a guest attribute."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One boot of an instance, as the program running on it sees and changes it."""

    state: State
    path: str
    """`projects/p/zones/z/instances/name`."""
    boot: int
    """1 for the first boot of this instance."""

    @property
    def instance(self) -> Json:
        """The instance as Compute tells it; empty once it is deleted."""
        return self.state.find(self.path) or {}

    @property
    def alive(self) -> bool:
        """Whether this very boot still runs."""
        return self.instance.get("status") == "RUNNING" and self.state.boots.get(self.path) == self.boot

    def metadata(self, key: str) -> str:
        """The value of a metadata item, empty if there is none; it may change while the machine runs."""
        items = self.instance.get("metadata", {}).get("items", [])
        return next((str(item.get("value", "")) for item in items if item["key"] == key), "")

    def write_serial(self, text: str, port: int = 1) -> None:
        """Append TEXT to the serial port; a machine that is off writes nothing."""
        if self.alive:
            self.state.serial.setdefault((self.path, port), SerialPort()).write(text.encode())

    def set_guest_attribute(self, namespace: str, key: str, value: str) -> None:
        """Publish a guest attribute; lost, as on a real machine, where metadata doesn't enable them.

        Raise ValueError for a value above 32 KiB.
        """
        if len(value.encode()) > GUEST_VALUE_BYTES:
            raise ValueError(f"a guest attribute takes {GUEST_VALUE_BYTES} bytes, not {len(value.encode())}")
        if self.alive and self.metadata("enable-guest-attributes").upper() == "TRUE":
            self.state.guest_attributes.setdefault(self.path, {})[namespace, key] = value

    def devices(self) -> list[str]:
        """The device names of the attached disks."""
        return [str(disk["deviceName"]) for disk in self.instance.get("disks", [])]

    def disk(self, device: str) -> Held:
        """What the disk attached as DEVICE holds; raise KeyError."""
        return self.state.holds(self._disk_path(device))

    def write_disk(self, device: str, held: Held) -> None:
        """Replace what the disk attached as DEVICE holds; an image made from it will hold that. Raise KeyError."""
        if self.alive:
            self.state.held[self._disk_path(device)] = held

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Run ACTION in SECONDS (virtual) if this boot still runs then."""
        self.state.world.clock.call_later(seconds, lambda: action() if self.alive else None)

    def stop(self) -> None:
        """Shut down from within, as `poweroff` does."""
        if self.alive:
            run_down(self.state, halt(self.state, self.path))

    def crash(self, text: str) -> None:
        """Write TEXT, such as a kernel's last words, and go dark at once."""
        self.write_serial(text)
        if self.alive:
            _dark(self.state, self.instance)

    def _disk_path(self, device: str) -> str:
        for disk in self.instance.get("disks", []):
            if disk["deviceName"] == device:
                return str(disk["source"]).removeprefix(COMPUTE_URL)
        raise KeyError(device)


BootHook = Callable[[Machine], None]
"""Called when an instance of the user's own (not a node) has become RUNNING; schedules what happens on it."""


def run_down(state: State, steps: Iterator[float]) -> None:
    """Take STEPS of an instance's end outside of any operation that a client waits for."""
    run(state, steps, lambda error: None)


def bring_up(state: State, path: str) -> Iterator[float]:
    """The steps from PROVISIONING to RUNNING; the boot hooks run at the end."""
    instance = state.find(path)
    if instance is None:
        return
    instance["status"] = "PROVISIONING"
    yield state.timing.boot_s / 4
    if instance["status"] == "PROVISIONING":
        instance["status"] = "STAGING"
        yield state.timing.boot_s * 3 / 4
    if state.find(path) is not instance or instance["status"] != "STAGING":
        return
    instance.update(status="RUNNING", lastStartTimestamp=state.compute_time())
    boot = state.boots[path] = state.boots.get(path, 0) + 1
    machine = Machine(state, path, boot)
    _limit(state, machine)
    for hook in state.boot_hooks:
        hook(machine)


def _limit(state: State, machine: Machine) -> None:
    scheduling = machine.instance.get("scheduling", {})
    seconds = float(scheduling.get("maxRunDuration", {}).get("seconds") or 0)
    if not seconds:
        return
    ending = remove if scheduling.get("instanceTerminationAction") == "DELETE" else halt
    machine.after(seconds, lambda: run_down(state, ending(state, machine.path)))


def halt(state: State, path: str) -> Iterator[float]:
    """The steps from RUNNING to TERMINATED."""
    instance = state.find(path)
    if instance is None or instance["status"] == "TERMINATED":
        return
    instance["status"] = "STOPPING"
    yield state.timing.stop_s
    if state.find(path) is instance:
        _dark(state, instance)


def _dark(state: State, instance: Json) -> None:
    instance.update(status="TERMINATED", lastStopTimestamp=state.compute_time())


def remove(state: State, path: str) -> Iterator[float]:
    """The steps of a deletion: autoDelete disks go too, others are detached."""
    instance = state.find(path)
    if instance is None:
        return
    instance["status"] = "STOPPING"
    yield state.timing.stop_s
    if state.find(path) is instance:
        take_away(state, path)


def take_away(state: State, path: str) -> None:
    """Forget the instance at PATH, its output, and its autoDelete disks, at once."""
    instance = state.find(path)
    if instance is None:
        return
    for attached in instance["disks"]:
        disk_path = str(attached["source"]).removeprefix(COMPUTE_URL)
        disk = state.find(disk_path)
        if disk is not None and attached.get("autoDelete"):
            state.drop(disk_path)
        elif disk is not None:
            disks.release(state, disk, instance)
    state.drop(path)
    state.members.get(instance["name"].rpartition("-")[0], {}).pop(instance["name"], None)
    state.guest_attributes.pop(path, None)
    for key in [key for key in state.serial if key[0] == path]:
        del state.serial[key]
    for told in state.on_gone:
        told(state, instance)


def attached(state: State, instance: Json, wanted: Json, disk: Json, index: int) -> Json:
    """The entry in an instance's `disks` for DISK attached as WANTED; raise 400 for a disk that another one writes."""
    mode = wanted.get("mode") or "READ_WRITE"
    path = str(disk["selfLink"]).removeprefix(COMPUTE_URL)
    if disk.get("users") and mode == "READ_WRITE":
        user = str(disk["users"][0]).removeprefix(COMPUTE_URL)
        message = f"The disk resource '{path}' is already being used by '{user}'"
        raise ApiError(400, message, reason="resourceInUseByAnotherResource")
    if zone_of(path) != zone_of(str(instance["selfLink"])):
        raise ApiError(400, f"The disk resource '{path}' must be in the instance's zone")
    entry: Json = {
        "kind": "compute#attachedDisk",
        "type": "PERSISTENT",
        "mode": mode,
        "source": disk["selfLink"],
        "deviceName": wanted.get("deviceName") or f"persistent-disk-{index}",
        "index": index,
        "boot": bool(wanted.get("boot", False)),
        "autoDelete": bool(wanted.get("autoDelete", False)),
        "interface": wanted.get("interface") or "SCSI",
        "diskSizeGb": disk["sizeGb"],
    }
    return entry | {key: disk[key] for key in ("architecture", "licenses", "guestOsFeatures") if key in disk}
