"""A real PostgreSQL for one test, where its programs are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pg8000.dbapi  # type: ignore[import-untyped]
import pg8000.exceptions  # type: ignore[import-untyped]
import pytest

from lesion_core.processes import ChildProcess, free_port


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs."""
    found = shutil.which("pg_ctl")
    if found and shutil.which("initdb"):
        return Path(found).parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@contextmanager
def private_postgres(password: str) -> Iterator[str]:
    """Address of a private PostgreSQL on loopback; it ends with the block. Skips the test where there is none."""
    programs = find_postgres()
    if programs is None:
        pytest.skip("no PostgreSQL here: neither initdb on the PATH nor in /usr/lib/postgresql")
    as_other: list[str] = []
    # Not pytest's own folder, which other users cannot look into.
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    if os.geteuid() == 0:  # which PostgreSQL refuses to run as
        if shutil.which("setpriv") is None:
            pytest.skip("PostgreSQL refuses to run as root, and there is no setpriv to become somebody else")
        nobody = pwd.getpwnam("nobody")
        as_other = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        shutil.chown(folder, nobody.pw_uid, nobody.pw_gid)
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o644)
    port, data = free_port(), folder / "data"
    subprocess.run(
        [*as_other, programs / "initdb", "-D", data, "-U", "lesion", "-A", "scram-sha-256", f"--pwfile={secret}", "-N"],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    process = ChildProcess.start(
        "PostgreSQL",
        [*as_other, str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1"],
        log_path=folder / "log",
        cwd=folder,
    )
    try:

        def is_ready() -> bool:
            try:
                pg8000.dbapi.connect(
                    "lesion", database="postgres", host="127.0.0.1", port=port, password=password
                ).close()
            except pg8000.exceptions.Error:
                return False
            return True

        process.wait_until(is_ready, timeout_s=60)
        yield f"postgresql+pg8000://lesion:{quote(password, safe='')}@127.0.0.1:{port}/postgres"
    finally:
        process.stop()
        shutil.rmtree(folder)
