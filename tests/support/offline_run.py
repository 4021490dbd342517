"""The main job without a way out: run as a program in a network namespace of its own, by ``tests/faults``.

Prints, as JSON, what was answered, how many packets had no route – whatever a program sends to another address than
loopback – and how many questions came to port 53 of loopback, where many machines have the name server that would pass
them on.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import cast

from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.processes import ChildProcess, free_port
from lesion_core.workspace import Workspace
from support.images import encoded_lesion

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
START_S = 240.0


def main() -> None:
    """``job HOME`` runs the main job; ``stray`` sends one packet out and ``name`` asks for a name, to be seen."""
    bring_loopback_up()
    names = NameServer()
    names.start()
    if sys.argv[1] == "stray":
        answered = stray()
    elif sys.argv[1] == "name":
        answered = ask_for_a_name()
    else:
        os.environ["LESION_HOME"] = sys.argv[2]
        answered = job(Path(sys.argv[2]))
    found = {"answered": answered, "without_route": packets_without_route(), "names_asked": names.asked}
    print(json.dumps(found))


class NameServer(threading.Thread):
    """Takes what is sent to port 53 of any loopback address, IPv4 or IPv6, UDP or TCP, and knows no name."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.asked = 0
        self._selector = selectors.DefaultSelector()
        addresses = {socket.AF_INET: "0.0.0.0"}  # all of them are loopback: there is nothing else here
        if Path("/proc/net/if_inet6").exists():
            addresses[socket.AF_INET6] = "::"
        for family, everywhere in addresses.items():
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                listening = socket.socket(family, kind)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind((everywhere, 53))
                if kind == socket.SOCK_STREAM:
                    listening.listen()
                self._selector.register(listening, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                listening = cast(socket.socket, key.fileobj)
                if listening.type == socket.SOCK_STREAM:
                    listening.accept()[0].close()
                else:
                    question, asker = listening.recvfrom(4096)
                    # The same message as an answer that refuses (RFC 1035, 4.1.1), so that nobody waits for another.
                    listening.sendto(question[:2] + b"\x80\x05" + question[4:], asker)
                self.asked += 1


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


def ask_for_a_name() -> str:
    """Try to look up a name that is set aside for documentation."""
    try:
        return str(socket.getaddrinfo("www.example.org", 80))
    except OSError as error:
        return type(error).__name__


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
