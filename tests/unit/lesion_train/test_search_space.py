"""The TOML file of a search: what each setting may be."""

from __future__ import annotations

from pathlib import Path

import attrs
import optuna
import pytest

from lesion_train.config import TrainConfig
from lesion_train.config_file import ConfigError
from lesion_train.tune import read_space

BASE = TrainConfig(data=Path("images"), threads=1)


def space_of(tmp_path: Path, text: str) -> dict[str, optuna.distributions.BaseDistribution]:
    path = tmp_path / "space.toml"
    path.write_text(text)
    return read_space(path, BASE)


def test_a_space_holds_choices_and_ranges(tmp_path: Path) -> None:
    """Whole numbers stay whole."""
    space = space_of(
        tmp_path,
        'augmentation = ["light", "heavy"]\nlearning_rate = {low = 1e-4, high = 1e-2, log = true}\n'
        "batch_size = {low = 8, high = 32, step = 8}\n",
    )

    assert space["augmentation"] == optuna.distributions.CategoricalDistribution(("light", "heavy"))
    assert space["learning_rate"] == optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)
    assert space["batch_size"] == optuna.distributions.IntDistribution(8, 32, step=8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("blance = [0.1]", "balance"),
        ("balance = {low = 0, high = 2}", "balance"),
        ("balance = []", "empty"),
        ("balance = {low = 0.1}", "high"),
        ("balance = 0.1", "list of choices"),
        ("", "names no setting"),
        ("balance =", "not a TOML file"),
        ("balance = " + "9" * 5000, "not a TOML file"),
        ("balance = " + "[" * 3000 + "]" * 3000, "not a TOML file"),
        ("balance = 0x" + "f" * 5000, "list of choices"),
        ("balance = {low = 0, high = 1, step = inf}", "step is no finite number"),
        ("batch_size = {low = 8, high = 32, step = 1.5}", "step is no whole number"),
        ("validation_fraction = [0.1, 0.2]", "validation_fraction decides which images a trial is measured on"),
        ('split = ["one.csv", "two.csv"]', "split decides which images a trial is measured on"),
        ("seed = [1, 2]", "seed decides which images a trial is measured on.*give --split"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    """Unknown settings, values that a setting cannot have, half a range, and what would make trials incomparable."""
    with pytest.raises(ConfigError, match=words):
        space_of(tmp_path, text)


def test_a_setting_that_a_linear_probe_does_not_have_is_not_searched(tmp_path: Path) -> None:
    """The best of trials that differ by nothing would be called the best."""
    path = tmp_path / "space.toml"
    path.write_text("dropout = [0.1, 0.2]\nbalance = [0.1, 0.2]\n")

    with pytest.raises(ConfigError) as caught:
        read_space(path, attrs.evolve(BASE, linear_probe=True))

    assert caught.value.problems == (
        f"{path}: dropout changes nothing of a linear probe: leave it out, or --linear-probe",
    )


def test_the_seed_may_be_searched_where_the_split_is_frozen(tmp_path: Path) -> None:
    """It decides nothing then that trials are compared by."""
    path = tmp_path / "space.toml"
    path.write_text("seed = [1, 2]")

    assert list(read_space(path, attrs.evolve(BASE, split=tmp_path / "split.csv"))) == ["seed"]
