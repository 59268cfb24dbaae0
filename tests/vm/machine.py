"""What hardware a guest has, as QEMU's command line."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

QEMU = "qemu-system-x86_64"
VIRTIOFSD_PATHS = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")

# Without hardware help each of these features costs time or breaks: five-level page tables make each walk longer, and
# QEMU 7.2 miscomputes cmpxchg16b, which kernels from 6.12 on use in their allocator: they crash while they boot.
CPU = "max,la57=off,cx16=off,svm=off"
COMMAND_LINE = (
    "root={root} rootfstype=ext4 rw console=ttyS0 panic=-1 quiet loglevel=4 systemd.show_status=false"
    " mitigations=off tsc=reliable no_timer_check random.trust_cpu=on"
)


class MissingTool(Exception):  # noqa: N818 - it says what is missing, not that something failed
    """The host lacks what guests need."""


def find_virtiofsd() -> Path:
    found = next((Path(path) for path in VIRTIOFSD_PATHS if Path(path).exists()), None)
    if found is None:
        raise MissingTool("virtiofsd is missing: `make vm-image` installs it")
    return found


def find_qemu() -> str:
    found = shutil.which(QEMU)
    if found is None:
        raise MissingTool(f"{QEMU} is missing: `make vm-image` installs it")
    return found


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The defaults are the machine whose booted state is saved; any other one boots cold.

    For power cuts take bus="nvme" and cache="none": QEMU then holds no written data of its own, so killing it loses
    what the guest had not synced, and nothing else. An NVMe disk cannot be part of a saved state.
    """

    memory: int = 2048  # MiB
    cpus: int = 2
    bus: Literal["virtio", "nvme"] = "virtio"
    cache: Literal["unsafe", "none", "writeback", "writethrough", "directsync"] = "unsafe"
    kernel_options: str = ""
    extra: tuple[str, ...] = ()

    def arguments(self, *, work: Path, disk: Path, image: Path, state: Path | None) -> list[str]:
        """The command line of QEMU; with `state` it starts paused, with that state read in."""
        drive = {"virtio": "virtio-blk-pci", "nvme": "nvme,serial=root"}[self.bus]
        root = {"virtio": "/dev/vda", "nvme": "/dev/nvme0n1"}[self.bus]
        return [
            find_qemu(),
            *("-name", "cbx-vm", "-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", "pc,memory-backend=mem", "-accel", "tcg,thread=multi,tb-size=512"),
            *("-cpu", CPU, "-smp", str(self.cpus), "-m", str(self.memory)),
            # Shared memory is what lets virtiofsd serve the source tree.
            *("-object", f"memory-backend-memfd,id=mem,size={self.memory}M,share=on"),
            # A reboot or a panic ends QEMU: whoever waits for the guest hears of it, and start() boots it again.
            "-no-reboot",
            *("-qmp", f"unix:{work}/qmp,server=on,wait=off", "-serial", f"file:{work}/console.log"),
            *("-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={work}/agent,server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=cbx.agent", "-device", "virtio-rng-pci"),
            *("-drive", f"file={disk},format=qcow2,if=none,id=disk,cache={self.cache},discard=unmap"),
            *("-device", f"{drive},drive=disk,id=root"),
            # A network card and nothing behind it: tests neither need nor reach anything outside.
            *("-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net,romfile="),
            *("-kernel", str(image / "vmlinuz"), "-append", f"{COMMAND_LINE.format(root=root)} {self.kernel_options}"),
            # ext4 and NVMe are built into the kernel, so only the virtio disk needs an initrd; it costs 7 s of boot.
            *(("-initrd", str(image / "initrd")) if self.bus == "virtio" else ()),
            *(("-incoming", f"exec:cat {state}") if state else ()),
            *self.extra,
        ]
