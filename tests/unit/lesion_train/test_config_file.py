"""Settings from a file and options: who wins, where each came from, and what is wrong with them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_core.decision.parameters import OodDetector
from lesion_plugins.errors import InputSizeError
from lesion_plugins.registry import BackboneRegistry
from lesion_train.config import LARGEST_SEED, TrainConfig, preprocess_of, with_backbone_defaults
from lesion_train.config_file import ConfigError, option_of, resolve_config, to_toml, without_paths

NAMES = [field.name for field in attrs.fields(TrainConfig)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with two settings."""
    path = tmp_path / "mine.toml"
    path.write_text('backbone = "vit_tiny"\nepochs = 7\n')
    return path


def problems_of(path: Path, text: str, **options: object) -> tuple[str, ...]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve_config(path, options)
    return caught.value.problems


def configs() -> st.SearchStrategy[TrainConfig]:
    name = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
    path = name.filter(lambda text: text not in (".", "..")).map(Path)
    rate = st.floats(0, 1, exclude_min=True)
    return st.builds(
        TrainConfig,
        data=path,
        taxonomy=st.none() | path,
        pretrained=path.map(str),
        input_size_px=st.none() | st.integers(32, 1024),
        crop_border=st.booleans(),
        epochs=st.integers(1, 10**9),
        learning_rate=rate,
        weight_decay=rate,
        ood_detector=st.none() | st.sampled_from(OodDetector),
        fold=st.none() | st.integers(1, 20),
    )


@given(configs())
def test_a_written_file_gives_the_same_settings_back(
    tmp_path_factory: pytest.TempPathFactory, made: TrainConfig
) -> None:
    """Whatever is in them; the data has to be given again."""
    path = tmp_path_factory.getbasetemp() / "written.toml"
    path.write_text(to_toml(made), encoding="utf-8")

    assert resolve_config(path, {"data": made.data}).config() == made


def test_options_win_over_the_file_and_the_file_over_the_defaults(file: Path) -> None:
    """And each says so."""
    resolved = resolve_config(file, {"epochs": 2, "crop_border": False})

    assert [resolved.values[name] for name in ("backbone", "epochs", "seed")] == ["vit_tiny", 2, 0]
    assert [resolved.origins[name] for name in ("backbone", "epochs", "seed")] == [str(file), "--epochs", "default"]
    assert resolved.origins["crop_border"] == "--no-crop-border"


def test_an_option_that_equals_the_default_still_wins(file: Path) -> None:
    """Ten epochs were asked for, so ten they are."""
    assert resolve_config(file, {"epochs": 10}).values["epochs"] == 10


def test_settings_come_in_the_order_of_the_class(file: Path) -> None:
    """Whatever the order of the file."""
    file.write_text('seed = 1\nepochs = 2\ndata = "images"\n')

    assert list(resolve_config(file, {}).values) == NAMES


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    """Each with file and key or with option, the value and what is possible."""
    path = tmp_path / "bad.toml"
    text = 'epoch = 3\nbatch-size = 8\nseed = "1"\ndropout = 2\ndevice = "gpu"\nood_detector = "vin"\ncolour = 1\n'

    problems = problems_of(path, text, epochs=0)

    assert problems == (
        f"{path}: no key named 'epoch'. Did you mean 'epochs'?",
        f"{path}: no key named 'batch-size'. Did you mean 'batch_size'?",
        f'{path}: seed = "1": must be a whole number',
        f"{path}: dropout = 2: must be <= 0.9",
        f"{path}: device = \"gpu\": must be in ('auto', 'cpu', 'cuda')",
        f"{path}: ood_detector = \"vin\": must be one of {', '.join(OodDetector)}. Did you mean 'vim'?",
        f"{path}: no key named 'colour'. Known: {', '.join(NAMES)}",
        "--epochs = 0: must be >= 1",
    )


def test_a_section_is_no_key_with_a_slip(tmp_path: Path) -> None:
    """Other programs' settings have sections."""
    path = tmp_path / "sections.toml"

    problems = problems_of(path, "[training]\nepochs = 3\nseed = 1\n")

    assert problems == (
        f"{path}: [training] is a section. Settings have none: write its keys (epochs, seed) without it",
    )


@given(st.sampled_from(NAMES), st.data())
def test_a_key_with_one_letter_wrong_names_the_right_one(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    """Wherever the slip is."""
    at = data.draw(st.integers(0, len(name) - 1))
    (problem,) = problems_of(tmp_path_factory.getbasetemp() / "slip.toml", f"{name[:at]}q{name[at + 1 :]} = 1")

    assert f"Did you mean {name!r}?" in problem


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("epochs = 2.0", "epochs = 2.0: must be a whole number"),
        ("epochs = true", "epochs = true: must be a whole number"),
        ("crop_border = 1", "crop_border = 1: must be true or false"),
        ('crop_border = "no"', 'crop_border = "no": must be true or false'),
        ("learning_rate = nan", "learning_rate = NaN: must be a finite number"),
        ("learning_rate = inf", "learning_rate = Infinity: must be a finite number"),
        (f"learning_rate = {10**400}", f"learning_rate = {10**400}: must be a finite number"),
        ("learning_rate = 0", "learning_rate = 0: must be > 0"),
        ("backbone = 3", "backbone = 3: must be text"),
        ("split = 3", "split = 3: must be a path, as text"),
        ("data = 2020-01-01", 'data = "2020-01-01": must be a path, as text'),
        ("epochs = [1]", "epochs = [1]: must be a whole number"),
        ("[epochs]\nfit = 1", 'epochs = {"fit": 1}: must be a whole number'),
        ("ood_detector = [1]", "ood_detector = [1]: must be one of mahalanobis"),
        ("input_size_px = 31", "input_size_px = 31: must be >= 32"),
        ("fold = 0", "fold = 0: must be >= 1"),
        (f"seed = {LARGEST_SEED + 1}", "seed = 4294967296: must be <= 4294967295"),
        (f"epochs = {2**63}", "epochs = 9223372036854775808: must be a whole number of 64 bits"),
        (f"seed = 0x{'f' * 5000}", "seed = …: must be a whole number of 64 bits"),
        (f"fold.{'a.' * 1500}a = 1", "fold = …: must be a whole number"),
    ],
)
def test_a_value_of_another_kind_is_never_bent_into_shape(tmp_path: Path, line: str, reason: str) -> None:
    """The key, the value and what it has to be."""
    (problem,) = problems_of(tmp_path / "bad.toml", line)

    assert problem.startswith(f"{tmp_path / 'bad.toml'}: {reason}")


def test_a_whole_number_is_a_number(file: Path) -> None:
    """``weight_decay = 0`` needs no point."""
    file.write_text("weight_decay = 0\n")

    assert resolve_config(file, {}).values["weight_decay"] == 0.0


@pytest.mark.parametrize(
    "content",
    [None, b"epochs = ", b"\xff", b"seed = " + 5000 * b"9", b"fold = " + 5000 * b"[" + 5000 * b"]"],
    ids=["missing", "half-written", "not text", "a long number", "deep lists"],
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Or that Python's reader of TOML gives up."""
    path = tmp_path / "broken.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"broken\.toml is not a TOML file of settings"):
        resolve_config(path, {})


def test_missing_data_names_the_option_and_the_key() -> None:
    """Only when a run is made of the settings."""
    resolved = resolve_config(None, {})

    with pytest.raises(ConfigError, match=r"data is missing: give --data, or the key 'data' in the file"):
        resolved.config()


def test_what_the_backbone_decides_is_written_out_with_its_name(file: Path) -> None:
    """The size and the detector, unless something else says them."""
    backbone = BackboneRegistry.load().get("vit_tiny")

    resolved = resolve_config(file, {"ood_detector": OodDetector.KNN}).with_backbone_defaults(backbone)

    assert (resolved.values["input_size_px"], resolved.origins["input_size_px"]) == (224, "vit_tiny")
    assert (resolved.values["ood_detector"], resolved.origins["ood_detector"]) == (OodDetector.KNN, "--ood-detector")
    assert "data" not in resolved.values


def test_a_record_keeps_no_folder_of_a_person() -> None:
    """Of every path only the last name; of the data nothing in the file to repeat a run with."""
    home = Path("/home/jane doe")
    made = TrainConfig(
        data=home / "images",
        taxonomy=home / "own.toml",
        split=home / "split.csv",
        pretrained=str(home / "w.safetensors"),
    )

    kept = without_paths(made)

    assert [kept[name] for name in ("data", "taxonomy", "split", "pretrained")] == [
        "images",
        "own.toml",
        "split.csv",
        "w.safetensors",
    ]
    assert "jane" not in to_toml(made)
    assert "data" not in tomllib.loads(to_toml(made))


def test_settings_with_the_backbone_s_defaults_stay_when_resolved_again() -> None:
    """Nothing is left for a later release to decide."""
    backbone = BackboneRegistry.load().get("efficientnet_lite0")

    once = with_backbone_defaults(TrainConfig(data=Path("images")), backbone)

    assert (once.input_size_px, once.ood_detector) == (224, OodDetector.VIM)
    assert with_backbone_defaults(once, backbone) == once


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_a_line_of_help(name: str) -> None:
    """In the class, which the command line quotes."""
    assert f"\n        {name}: " in str(TrainConfig.__doc__)


def test_options_are_named_after_fields() -> None:
    """A switch that is off has a name of its own."""
    assert option_of("input_size_px", 64) == "--input-size-px"
    assert option_of("crop_border", False) == "--no-crop-border"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"imbalance": "ldam_drw", "patience": 3}, "ldam_drw does not go with patience: its weights come in the last"),
        ({"patience": 3, "unfreeze_epochs": 3.5}, "patience has to be at least unfreeze_epochs"),
        ({"epochs": 3, "unfreeze_epochs": 3}, "unfreeze_epochs has to be less than epochs"),
        ({"linear_probe": True, "imbalance": "focal"}, "a linear_probe has no imbalance focal: possible are none and"),
        ({"linear_probe": True, "metadata_fusion": True}, "a linear_probe has no metadata_fusion: leave these out, or"),
    ],
)
def test_settings_that_do_not_go_together_are_named(settings: Mapping[str, object], sentence: str) -> None:
    """Where a run is made of them, and where they are only looked at."""
    resolved = resolve_config(None, {"data": Path("images"), **settings})

    with pytest.raises(ConfigError, match=f"1 problem with the settings:\n  - {sentence}"):
        resolved.config()
    with pytest.raises(ConfigError, match=f"1 problem with the settings:\n  - {sentence}"):
        resolved.with_backbone_defaults(BackboneRegistry.load().get("vit_tiny"))


def test_all_that_does_not_go_together_is_listed_at_once() -> None:
    """With what is missing."""
    wrong = {"linear_probe": True, "metadata_fusion": True, "unfreeze_epochs": 20.0, "patience": 3}

    with pytest.raises(ConfigError) as caught:
        resolve_config(None, {**wrong, "imbalance": "ldam_drw"}).config()

    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "data is missing",
        "a linear_probe has no unfreeze_epochs, patience, metadata_fusion",
        "a linear_probe has no imbalance ldam_drw",
        "ldam_drw does not go with patience",
        "unfreeze_epochs has to be less than epochs, or the first layers would never be trained",
        "patience has to be at least unfreeze_epochs, or a run may end before all layers are trained",
    ]


def test_a_run_may_stop_early_once_all_layers_are_trained() -> None:
    """It has one epoch more than its patience at least."""
    assert TrainConfig(data=Path("images"), patience=3, unfreeze_epochs=3).patience == 3


def test_what_a_backbone_crops_can_be_left() -> None:
    """Its own choice counts where nothing is said, and no longer."""
    backbone = BackboneRegistry.load().get("vit_tiny")
    cropping = attrs.evolve(backbone, preprocess=attrs.evolve(backbone.preprocess, crop_border=True))

    made = [
        with_backbone_defaults(resolve_config(None, {"data": Path("images"), **given}).config(), cropping)
        for given in ({}, {"crop_border": False})
    ]

    assert [config.crop_border for config in made] == [True, False]
    assert [preprocess_of(config, cropping).crop_border for config in made] == [True, False]


def test_a_size_that_the_backbone_does_not_take_is_named_with_the_settings() -> None:
    """``config show`` says it too."""
    resolved = resolve_config(None, {"input_size_px": 33})

    with pytest.raises(InputSizeError, match="vit_tiny cannot take images of 33 px"):
        resolved.with_backbone_defaults(BackboneRegistry.load().get("vit_tiny"))


def test_a_linear_probe_takes_no_settings_of_the_loop(tmp_path: Path) -> None:
    """They would change nothing, and a score would be taken for theirs; a record of a probe can be repeated from."""
    with pytest.raises(ConfigError, match="a linear_probe has no epochs, mixup: leave these out, or linear_probe"):
        resolve_config(None, {"data": Path("images"), "linear_probe": True, "mixup": 0.2, "epochs": 3}).config()

    path = tmp_path / "config.toml"
    path.write_text(to_toml(TrainConfig(data=Path("images"), linear_probe=True)), encoding="utf-8")
    assert resolve_config(path, {"data": Path("images")}).config().linear_probe
