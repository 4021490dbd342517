"""What ``./pants`` does before Pants starts: it passes on what pip is configured with, and installs Pants once."""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path.cwd() / "build-support/pants"
TORCH_PIN = re.search(r"^torch==(\S+)", (Path.cwd() / "3rdparty/python/networks.in").read_text(), re.MULTILINE)
TORCH_PAGE = "https://download.pytorch.org/whl/cpu/torch/"
EXPORTED = ("PANTS_PYTHON_REPOS_INDEXES", "PANTS_PYTHON_REPOS_FIND_LINKS", "PANTS_CA_CERTS_PATH")
NONE = {"PIP_CONFIG_FILE": "/dev/null"}


def run_settings(home: Path, form: str = "pants", **environment: str) -> str:
    """What it prints to a shell that has only these variables."""
    command = [sys.executable, "-I", "-S", str(SUPPORT / "settings.py"), form]
    return subprocess.run(
        command, env={"HOME": str(home), "PATH": "", **environment}, capture_output=True, text=True, check=True
    ).stdout


def exported(home: Path, **environment: str) -> dict[str, str]:
    """The variables as a shell understands them."""
    show = "".join(f"printf '%s\\n' \"${{{name}-unset}}\"\n" for name in EXPORTED)
    script = f'eval "$1"\n{show}'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", run_settings(home, **environment)],
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(EXPORTED, done.stdout.splitlines(), strict=True))


def test_where_pip_is_told_to_read_no_configuration_none_is_read(tmp_path: Path) -> None:
    """Pants keeps its own index, and PyTorch's page serves the CPU build."""
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip/pip.conf").write_text("[global]\nindex-url = http://mirror.example/simple\n")

    assert exported(tmp_path, **NONE) == {
        "PANTS_PYTHON_REPOS_INDEXES": "unset",
        "PANTS_PYTHON_REPOS_FIND_LINKS": repr([TORCH_PAGE]),
        "PANTS_CA_CERTS_PATH": "unset",
    }


def test_the_index_of_a_users_file_is_passed_on_and_the_environment_wins(tmp_path: Path) -> None:
    """As for pip: file, then the named file, then PIP_*."""
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text("[global]\nindex_url = http://user.example/simple\n")
    named = tmp_path / "named.conf"
    named.write_text("[install]\nindex-url = http://named.example/simple\n")
    more = "http://more.example/simple"

    def indexes(**environment: str) -> object:
        settings = exported(tmp_path, PIP_EXTRA_INDEX_URL=more, **environment)
        return ast.literal_eval(settings["PANTS_PYTHON_REPOS_INDEXES"])

    assert indexes() == ["http://user.example/simple", more]
    assert indexes(PIP_CONFIG_FILE=str(named)) == ["http://named.example/simple", more]
    assert indexes(PIP_INDEX_URL="http://set.example/simple", PIP_CONFIG_FILE=str(named)) == [
        "http://set.example/simple",
        more,
    ]


def test_an_extra_index_is_added_to_the_one_that_pants_has(tmp_path: Path) -> None:
    """Not put in its place; quotes in a name reach Pants as they are."""
    folder = tmp_path / "it's"
    folder.mkdir()

    settings = exported(tmp_path, PIP_EXTRA_INDEX_URL=str(folder), **NONE)

    assert settings["PANTS_PYTHON_REPOS_INDEXES"] == f"+{[folder.as_uri()]!r}"


@pytest.mark.parametrize("holds_torch", [False, True])
def test_folders_of_wheels_are_passed_on_as_addresses(tmp_path: Path, holds_torch: bool) -> None:
    """Those that exist, once; PyTorch's page is asked only where none of them holds our build."""
    assert TORCH_PIN is not None
    wheels = tmp_path / "wheels-ü"
    wheels.mkdir()
    if holds_torch:
        (wheels / f"torch-{TORCH_PIN.group(1)}+cpu-cp311-cp311-linux_x86_64.whl").touch()

    settings = exported(tmp_path, PIP_FIND_LINKS=f"{wheels} {tmp_path / 'gone'} {wheels}", **NONE)

    expected = [wheels.as_uri()] if holds_torch else [wheels.as_uri(), TORCH_PAGE]
    assert ast.literal_eval(settings["PANTS_PYTHON_REPOS_FIND_LINKS"]) == expected


@pytest.mark.parametrize("variable", ["PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_certificates_that_pip_trusts_are_passed_on(tmp_path: Path, variable: str) -> None:
    """A file that is not there is passed over: Pants would stop at it."""
    bundle = tmp_path / "authorities.pem"
    bundle.touch()

    assert exported(tmp_path, **{variable: str(bundle)}, **NONE)["PANTS_CA_CERTS_PATH"] == str(bundle)
    assert exported(tmp_path, **{variable: str(tmp_path / "gone")}, **NONE)["PANTS_CA_CERTS_PATH"] == "unset"


def test_what_the_user_has_set_for_pants_is_left_alone(tmp_path: Path) -> None:
    """No line is printed for it."""
    said = run_settings(tmp_path, PANTS_PYTHON_REPOS_FIND_LINKS="[]", PIP_INDEX_URL="http://a.example/simple", **NONE)

    assert said == "export PANTS_PYTHON_REPOS_INDEXES='['\"'\"'http://a.example/simple'\"'\"']'\n"


def test_a_damaged_file_is_named_and_passed_over(tmp_path: Path) -> None:
    """A machine's odd configuration must not keep anybody from starting."""
    (tmp_path / "odd.conf").write_text("index-url = no section\n")

    settings = exported(tmp_path, PIP_CONFIG_FILE=str(tmp_path / "odd.conf"), PIP_INDEX_URL="http://a.example/simple")

    assert "http://a.example/simple" in settings["PANTS_PYTHON_REPOS_INDEXES"]


def test_uv_gets_the_same_settings_as_options(tmp_path: Path) -> None:
    """For the script that makes the locks."""
    environment = {"PIP_INDEX_URL": "http://a.example/simple", "PIP_FIND_LINKS": str(tmp_path), **NONE}

    assert run_settings(tmp_path, "uv-index", **environment) == "--default-index=http://a.example/simple\n"
    assert run_settings(tmp_path, "uv-find-links", **environment).splitlines() == [
        f"--find-links={tmp_path.as_uri()}",
        f"--find-links={TORCH_PAGE}",
    ]


# bootstrap.py with an installation that only says that it began, and then waits for a line.
INSTALLER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import bootstrap

def create(folder, **_):
    (folder / "bin").mkdir(parents=True)
    print("installing", flush=True)
    sys.stdin.readline()
    (folder / "bin/python").touch()

bootstrap.venv.create = create
bootstrap.pip = lambda *_: None
bootstrap.build_pex_tool = lambda python, lock, target, work: target.touch()
bootstrap.main(Path("a.lock"), Path(sys.argv[2]))
"""


def install(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", INSTALLER, str(SUPPORT), str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def begun(home: Path) -> subprocess.Popen[str]:
    """One that is in the middle of its work."""
    process = install(home)
    assert process.stdout is not None
    assert process.stdout.readline() == "installing\n"
    return process


def test_of_two_first_starts_at_once_one_installs_pants_and_the_other_waits(tmp_path: Path) -> None:
    """Both then find it finished."""
    home = tmp_path / "cache/2.17.1"
    first = begun(home)
    second = install(home)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(1)
    assert not home.exists()

    first.communicate("go on\n")
    said, _ = second.communicate()

    assert (first.returncode, second.returncode, said) == (0, 0, "")
    assert (home / "venv/bin/python").exists()
    assert (home / "pex").exists()


def test_after_a_start_that_was_killed_half_way_the_next_one_begins_anew(tmp_path: Path) -> None:
    """Nothing half-made is used, and nothing of it stays."""
    home = tmp_path / "2.17.1"
    killed = begun(home)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not home.exists()

    begun(home).communicate("go on\n")

    assert (home / "venv/bin/python").exists()
    assert [path.name for path in tmp_path.glob("*.build-*")] == [home.readlink().name]
