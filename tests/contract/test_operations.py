"""Every command in the operations guide and in deploy/ is one: the program knows it, and takes these options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App
from cyclopts.exceptions import CycloptsError

from lesion_serve.cli import app as serve
from lesion_train.cli import app as train
from lesion_ui.cli import app as ui

PROGRAMS = {"serve": serve, "train": train, "ui": ui}
GUIDE = Path("docs/operations.md")
# In a sentence of the guide, or of a rule; a line of code, up to a comment or what the shell does with it.
IN_BACKTICKS = re.compile(r"`(?:\w+=\S+ )?lesion-(serve|train|ui) ([^`]+)`")
IN_QUOTES = re.compile(r"'lesion-(serve|train|ui) ([^']+)'")
LINE_OF_CODE = re.compile(r"^(?: {4}|#.* )(?:\w+=\S+ )?lesion-(serve|train|ui) ([^>|]+?)(?: > .*)?$", re.MULTILINE)
UNIT = re.compile(
    r"^Exec\w+=(?:/bin/sh -c 'exec )?/opt/lesion/(serve|train|ui)\.pex/__main__\.py (.+?)'?$", re.MULTILINE
)
COMPOSE = re.compile(r"^ +command: \[/opt/lesion/(serve|train|ui)\.pex/__main__\.py, (.+)\]$", re.MULTILINE)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Program and arguments, from all files."""
    for path in (GUIDE, *(path for path in sorted(Path("deploy").rglob("*")) if path.is_file())):
        text = path.read_text()
        for pattern in (IN_BACKTICKS if path == GUIDE else IN_QUOTES, LINE_OF_CODE, UNIT):
            for program, arguments in pattern.findall(text):
                yield program, shlex.split(re.sub(r"\$\([^)]*\)", "RESULT", arguments), comments=True)
        for program, arguments in COMPOSE.findall(text):
            yield program, [one.strip('"') for one in arguments.split(", ")]


ALL = list(commands())


def parse(program: App, arguments: list[str]) -> None:
    """As the program would, without doing it."""
    program.parse_args(arguments, exit_on_error=False, print_error=False)


def test_the_commands_are_found() -> None:
    """In the guide and in every file that has some; otherwise the test below would check less than it says."""
    guide = GUIDE.read_text()
    mentions = len(re.findall(r"lesion-(?:serve|train|ui) [a-z-]", re.sub(r"systemctl [^`\n]*", "", guide)))

    assert mentions == len([*IN_BACKTICKS.findall(guide), *LINE_OF_CODE.findall(guide)]) > 30
    for path in Path("deploy/systemd").glob("*.service"):
        assert UNIT.search(path.read_text()), path
    compose = Path("deploy/compose.yml").read_text()
    assert len(COMPOSE.findall(compose)) == compose.count("command:") == 3
    assert ("serve", ["keys", "create", "Prometheus", "--role", "auditor"]) in ALL


@pytest.mark.parametrize(
    ("program", "arguments"), ALL, ids=[f"{program} {' '.join(arguments)}"[:60] for program, arguments in ALL]
)
def test_every_command_is_one(
    program: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With options that there are and values that they take."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.jpg").touch()
    (tmp_path / "images").mkdir()

    parse(PROGRAMS[program], arguments)


@pytest.mark.parametrize("arguments", [["keep"], ["backup"], ["backup", "DIR", "--all"], ["start", "--engine", "java"]])
def test_a_command_that_is_none_would_be_found(arguments: list[str]) -> None:
    """An unknown one, one that lacks something, and unknown options and values."""
    with pytest.raises(CycloptsError):
        parse(serve, arguments)


def test_every_timer_has_its_service_and_the_guide_starts_both() -> None:
    """A timer without one does nothing."""
    units = {path.name for path in Path("deploy/systemd").iterdir()}
    (enabled,) = re.findall(r"systemctl enable --now (.+)", GUIDE.read_text())
    started = {name if name.endswith(".timer") else f"{name}.service" for name in enabled.split()}

    assert {name.replace(".timer", ".service") for name in units} <= units
    assert started == {name for name in units if name.endswith(".timer") or "WantedBy" in _text(name)}


def _text(name: str) -> str:
    return (Path("deploy/systemd") / name).read_text()
