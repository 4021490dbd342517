"""The main job without a way out: run as a program in a network namespace of its own, by ``tests/faults``.

Prints, as JSON, what was answered and how many packets had no route: whatever a program sends to another address than
loopback, a question to a name server included, is counted there.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.processes import ChildProcess, free_port
from lesion_core.workspace import Workspace
from support.images import encoded_lesion

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
START_S = 240.0


def main() -> None:
    """``job HOME`` runs the main job, ``stray`` sends one packet out: what the test would see."""
    bring_loopback_up()
    if sys.argv[1] == "stray":
        answered = stray()
    else:
        os.environ["LESION_HOME"] = sys.argv[2]
        answered = job(Path(sys.argv[2]))
    print(json.dumps({"answered": answered, "without_route": packets_without_route()}))


def bring_loopback_up() -> None:
    """A new namespace has the device, but down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh14s", b"lo", 0, b"")
        (flags,) = struct.unpack("16xh14x", fcntl.ioctl(handle, SIOCGIFFLAGS, request))
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sh14s", b"lo", flags | IFF_UP, b""))


def packets_without_route() -> int:
    """Of this namespace, IPv4 and IPv6."""
    lines = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")]
    names, values = lines[0], lines[1]
    count = int(dict(zip(names, values, strict=True))["OutNoRoutes"])
    for line in Path("/proc/net/snmp6").read_text().splitlines():
        name, value = line.split()
        if name == "Ip6OutNoRoutes":
            count += int(value)
    return count


def stray() -> str:
    """Try to reach an address that is set aside for documentation."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as out:
        out.settimeout(5)
        try:
            out.connect(("192.0.2.1", 80))
        except OSError as error:
            return type(error).__name__
    return "connected"


def job(home: Path) -> str:
    """Train, register, archive, serve, predict; the most probable class."""
    data = write_synthetic_dataset(home / "data", images_per_class=20, side_px=80)
    options = ("--epochs", "1", "--input-size-px", "64", "--threads", "1", "--batch-size", "16")
    run("lesion_train", "fit", "--data", str(data), *options)
    run("lesion_serve", "archive", "models:/skin-lesion@champion", "--out", str(home / "skin_vit.mar"))
    image = home / "image.jpg"
    image.write_bytes(encoded_lesion())
    server = ChildProcess.start(
        "server",
        [sys.executable, "-m", "lesion_serve", "start", str(home / "skin_vit.mar"), *ports()],
        log_path=home / "server.log",
    )
    try:
        server.wait_until(Workspace(home).endpoint.is_file, timeout_s=START_S)
        return run("lesion_serve", "ask", str(image), "--json")
    finally:
        server.stop()


def ports() -> tuple[str, ...]:
    """Options for a server beside others."""
    return "--port", str(free_port()), "--torchserve-port", str(free_port())


def run(module: str, *arguments: str) -> str:
    """One of our programs; its output."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} {arguments[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
