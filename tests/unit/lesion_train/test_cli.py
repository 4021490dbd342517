"""The door of training."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from lesion_core.datasets.isic import GROUND_TRUTH
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.processes import child_environment
from lesion_train.config_file import FIELDS, option_of


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lesion_train", *arguments],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_every_command_and_says_research_use_only() -> None:
    """Good enough to work from."""
    shown = run("--help").stdout

    assert "Research use only" in shown
    for command in ("fit", "config", "register", "mlflow", "backbones", "synthetic", "data", "evaluate"):
        assert command in shown


@pytest.mark.parametrize("command", [("fit",), ("config", "show")])
def test_help_explains_every_setting_as_an_option(command: tuple[str, ...]) -> None:
    """With its default; a new field of the settings needs nothing else."""
    shown = run(*command, "--help").stdout

    for option in ("--config", *(option_of(name) for name in FIELDS)):
        assert f"{option} " in shown
    assert "[default: efficientnet_lite0]" in " ".join(shown.replace("│", "").split())
    assert "[default: 0.2]" in shown


def test_backbones_lists_the_built_ins() -> None:
    """Through the entry point that a stranger uses."""
    shown = run("backbones").stdout

    for name in ("vit_tiny", "convnext_atto", "efficientnet_lite0"):
        assert name in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fit", "--data", "/nowhere"], "the folder does not exist"),
        (["fit"], "data is missing: give --data, or the key 'data' in the file"),
        (["fit", "--data", "x", "--epochs", "0"], "--epochs = 0: must be >= 1"),
        (["fit", "--data", "x", "--config", "/nowhere.toml"], "/nowhere.toml is not a TOML file of settings"),
        (["config", "show", "--backbone", "vit_tini"], "Did you mean 'vit_tiny'"),
        (["config", "show", "--linear-probe", "--mixup", "0.2"], "a linear_probe has no mixup"),
        (["cross-validate", "--data", "x", "--seed", "4294967296"], "--seed = 4294967296: must be <= 4294967295"),
        (["data", "split", "x", "--out", "x.csv", "--seed", "4294967296"], "Must be <= 4294967295"),
        (["register", "/nowhere"], "not a recorded run"),
        (["data", "check", "/nowhere"], "the folder does not exist"),
        (["evaluate", "/nowhere", "--data", "x"], "/nowhere is not a bundle"),
        (["data", "split", "x", "--out", "/nowhere/x.csv"], "for --out. There is no folder"),
        (["evaluate", "x", "--data", "x", "--isic-csv", "/usr"], "for --isic-csv. It is a folder"),
        (["export", "x", "--data", "x", "--out", "/usr"], "/usr exists already. A bundle is never changed"),
        (["fit", "--data", __file__], "it is a file, not a folder"),
        (["synthetic", "/proc/nowhere"], "No such file or directory: '/proc/nowhere'"),
        (["mlflow", "--port", "99999"], "--port 99999 is no port"),
        (["mlflow", "--backend-store-uri", "foo"], "'foo' is no address of a database. Give sqlite:///FILE"),
    ],
)
def test_a_named_error_is_one_sentence_and_exit_code_2(arguments: list[str], sentence: str) -> None:
    """No traceback."""
    done = run(*arguments)

    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("fit",), ("cross-validate",), ("tune", "--space", "space.toml")])
def test_a_folder_that_is_not_there_is_named_before_torch_is_imported(command: tuple[str, ...]) -> None:
    """Which takes seconds: a slip of the pen is told at once."""
    program = [sys.executable, "-X", "importtime", "-m", "lesion_train", *command, "--data", "/nowhere"]

    done = subprocess.run(program, env=child_environment(), capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "the folder does not exist" in done.stderr
    assert not re.search(r"\| +(torch|mlflow|sklearn)$", done.stderr, re.MULTILINE)


def test_a_command_that_is_printed_can_be_pasted(tmp_path: Path) -> None:
    """Into a shell, whatever the folder is called."""
    folder = tmp_path / "it's here"

    shown = run("synthetic", str(folder), "--images-per-class", "1").stdout

    assert shlex.split(shown.split("Next: ")[1]) == ["lesion-train", "fit", "--data", str(folder)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_told_to_stop_says_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    """By Ctrl-C or by a scheduler, with all options that its record does not hold; with these it goes on."""
    data = write_synthetic_dataset(tmp_path / "drawn images", images_per_class=20, side_px=64)
    options = ["--pretrained", "none", "--input-size-px", "32", "--epochs", "500", "--threads", "1", "--no-onnx"]
    places = ["--tracking-uri", f"sqlite:///{tmp_path}/other.db", "--cache", str(tmp_path / "cache")]
    program = subprocess.Popen(
        [sys.executable, "-m", "lesion_train", "fit", "--data", str(data), *options, *places],
        env=child_environment() | {"LESION_HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output = program.stdout
        assert output is not None
        began = "".join(iter(lambda: _until(output, "epoch_done"), ""))
        program.send_signal(number)
        told = program.communicate()[0]
    finally:
        program.kill()

    (run_folder,) = (tmp_path / "home" / "runs").iterdir()
    assert program.returncode == 128 + number, began + told
    again = ["lesion-train", "fit", "--data", str(data), "--resume", str(run_folder), *places]
    assert shlex.join(again) in told.replace('\\"', "'")
    assert "lesion-train: stopped." in told


def _until(stream: IO[str], word: str) -> str:
    """The next line; blank once a line with the word has come, or none comes any more."""
    line = stream.readline()
    return "" if word in line else line


def test_drawn_images_replace_no_others(tmp_path: Path) -> None:
    """Whose labels would be lost; drawn ones may be drawn anew."""
    truth = tmp_path / "real" / GROUND_TRUTH
    truth.parent.mkdir()
    truth.write_text("image,MEL\nISIC_0000001,1.0\n")

    done = run("synthetic", str(truth.parent), "--images-per-class", "1")

    assert (done.returncode, truth.read_text().count("\n")) == (2, 2)
    assert "choose another folder" in done.stderr
    assert run("synthetic", str(tmp_path / "drawn"), "--images-per-class", "1").returncode == 0
    assert run("synthetic", str(tmp_path / "drawn"), "--images-per-class", "1").returncode == 0


def test_config_show_aligns_every_setting_with_its_origin(tmp_path: Path) -> None:
    """From the option, the file, the backbone and the defaults; what is missing is said."""
    file = tmp_path / "mine.toml"
    file.write_text('backbone = "vit_tiny"\nepochs = 7\nseed = 3\n')

    lines = run("config", "show", "--config", str(file), "--epochs", "2", "--no-crop-border").stdout.splitlines()

    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["data"] == ["-", "required"]
    assert rows["backbone"] == ["vit_tiny", str(file)]
    assert rows["input_size_px"] == ["224", "vit_tiny"]
    assert rows["crop_border"] == ["false", "--no-crop-border"]
    assert rows["epochs"] == ["2", "--epochs"]
    assert rows["seed"] == ["3", str(file)]
    assert rows["dropout"] == ["0.2", "default"]
    assert len({line.rindex("  ") for line in lines}) == 1


def test_none_takes_back_what_a_file_says(tmp_path: Path) -> None:
    """Of every setting that may be left out; a file that is called so has its folder before it."""
    file = tmp_path / "mine.toml"
    given = {"data_license": "CC0", "taxonomy": "own.toml", "colour_constancy": "shades_of_grey", "split": "split.csv"}
    given |= {"weights_license": "MIT"}
    file.write_text("".join(f'{name} = "{value}"\n' for name, value in given.items()) + "fold = 2\npatience = 4\n")
    optional = [name for name, field in FIELDS.items() if field.default is None]
    options = [f"{option_of(name)}=none" for name in optional]

    shown = json.loads(run("config", "show", "--json", "--config", str(file), *options).stdout)

    backbone_decides = {"input_size_px", "crop_border", "ood_detector"}
    assert backbone_decides | {*given, "fold", "patience"} == set(optional)
    assert {name for name in optional if shown[name] == {"value": None, "origin": option_of(name)}} == {
        *given,
        "fold",
        "patience",
    }
    assert {shown[name]["origin"] for name in backbone_decides} == {"efficientnet_lite0"}
    named = json.loads(run("config", "show", "--json", "--split", "./none").stdout)
    assert named["split"] == {"value": "none", "origin": "--split"}


def test_config_show_as_json_has_the_types_of_toml() -> None:
    """For programs."""
    shown = json.loads(run("config", "show", "--json", "--ood-detector", "max-logit", "--data", "images").stdout)

    assert shown["data"] == {"value": "images", "origin": "--data"}
    assert shown["ood_detector"] == {"value": "max_logit", "origin": "--ood-detector"}
    assert shown["learning_rate"] == {"value": 0.0007, "origin": "default"}
    assert shown["fold"] == {"value": None, "origin": "default"}
