"""
Install Pants into a private virtual environment, and build the ``pex`` tool beside it.

Run by ``./pants`` with a Python 3.9, when no official launcher can serve::

    python3.9 bootstrap.py LOCK HOME

``HOME`` becomes a link to a finished folder that holds ``venv/`` (Pants) and ``pex`` (the tool that Pants would
otherwise download from a release page). Two starts at once: the second waits. A start killed half-way: the next one
begins anew, since the link is made last and the kernel drops the lock of a dead process.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

# What building the pex tool from its wheel yields, byte for byte, on any machine: see `build_pex_tool`.
PEX_VERSION = "2.1.137"
PEX_SHA256 = "fd0a57a179126cdefb9c3203c60508147c03ba5262aecb5540e31bad64595485"
PEX_PYTHONS = "CPython>=2.7,!=3.0.*,!=3.1.*,!=3.2.*,!=3.3.*,!=3.4.*,<3.13"


def say(text: str) -> None:
    """Tell the user on the error stream."""
    print(f"pants: {text}", file=sys.stderr, flush=True)


def pip(python: Path, *args: str) -> None:
    """Run the pip of an environment, errors only; it reads its configuration (index, CA bundle ...) by itself."""
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "-qq", *args], check=True)


def requirement(lock: Path, name: str) -> str:
    """Return one package's entry of the lock file, hashes and all."""
    entry = re.search(rf"^{name}==(?:.*\\\n)*.*\n", lock.read_text(), re.MULTILINE)
    if not entry:
        raise SystemExit(f"pants: {lock} does not pin {name}")
    return entry.group()


def build_pex_tool(python: Path, lock: Path, target: Path, work: Path) -> None:
    """Build the pex tool from its wheel without times, bytecode or compression, so that its sha256 can be pinned."""
    pinned = work / "pex.lock"
    pinned.write_text(requirement(lock, "pex"))
    pip(python, "download", "--require-hashes", "--no-deps", "-r", str(pinned), "-d", str(work / "wheels"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PEX_")}
    environment.update(SOURCE_DATE_EPOCH="315532800", PEX_ROOT=str(work / "pex_root"))
    subprocess.run(
        [
            *(python, "-m", "pex", f"pex=={PEX_VERSION}", "-c", "pex", "-o", target),
            *("--no-pypi", "--find-links", work / "wheels"),
            *("--python-shebang", "/usr/bin/env python3", "--interpreter-constraint", PEX_PYTHONS),
            *("--no-compile", "--no-use-system-time", "--no-compress", "--no-strip-pex-env"),
        ],
        check=True,
        env=environment,
    )
    got = hashlib.sha256(target.read_bytes()).hexdigest()
    if got != PEX_SHA256:
        raise SystemExit(f"pants: the pex tool built here has sha256 {got}, not {PEX_SHA256}; see {__file__}")


def main(lock: Path, home: Path) -> None:
    """Make `home`, unless somebody else just has."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{home}.flock", "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if (home / "venv/bin/python").exists():
            return
        for left_over in home.parent.glob(f"{home.name}.build-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{home.name}.build-", dir=home.parent))
        say(f"installing Pants into {home} (once, about a minute)")
        # The interpreter itself, never a link of a link: a venv made from a venv would die with it.
        sys.executable = os.path.realpath(sys.executable)
        venv.create(folder / "venv", with_pip=True, symlinks=True)
        python = folder / "venv/bin/python"
        pip(python, "install", "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(lock))
        # In the system's temporary folder: below a deep home, pex warns of paths too long for a script's first line.
        with tempfile.TemporaryDirectory(prefix="pex-") as work:
            build_pex_tool(python, lock, folder / "pex", Path(work))
        link = folder / "link"
        link.symlink_to(folder.name)
        os.replace(link, home)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"pants: this command failed ({error.returncode}): {' '.join(map(str, error.cmd))}") from None
