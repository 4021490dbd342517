"""The locks: every wheel by its hash, no addresses, and one version of each package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LOCKS = sorted(Path.cwd().glob("3rdparty/python/*.lock")) + sorted(Path.cwd().glob("build-support/pants/*.lock"))
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def pins(lock: Path) -> dict[str, str]:
    return dict(PIN.findall(lock.read_text()))


def test_all_locks_are_here() -> None:
    """Otherwise the tests below would check nothing."""

    assert {"default", "default.cuda", "mypy", "pytest", "ruff", "setuptools"} <= {lock.stem for lock in LOCKS}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_requirement_has_a_hash(lock: Path) -> None:
    """Pants accepts a lock without hashes silently."""
    requirements = re.split(r"(?m)^(?=[A-Za-z0-9])", lock.read_text())
    unhashed = [text.splitlines()[0] for text in requirements if PIN.match(text) and "--hash=sha256:" not in text]

    assert pins(lock)
    assert unhashed == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_holds_no_address(lock: Path) -> None:
    """It has to work with any index that serves the same files."""

    assert "://" not in lock.read_text()


def test_torch_is_the_cpu_build_unless_the_cuda_lock_is_chosen() -> None:
    """One switch; everything else is the same in both."""
    cpu, cuda = (pins(Path.cwd() / f"3rdparty/python/{name}.lock") for name in ("default", "default.cuda"))

    assert cpu["torch"].endswith("+cpu")
    assert cuda["torch"] == cpu["torch"].removesuffix("+cpu")
    assert {name for name in cpu if name != "torch" and cpu[name] != cuda.get(name)} == set()


@pytest.mark.parametrize("tool", ["mypy", "pytest", "ruff", "setuptools"])
def test_a_tool_has_the_versions_of_the_code(tool: str) -> None:
    """Where both have a package, pytest for one."""
    code = pins(Path.cwd() / "3rdparty/python/default.lock")

    assert {
        name
        for name, version in pins(Path.cwd() / f"3rdparty/python/{tool}.lock").items()
        if code.get(name, version) != version
    } == set()
