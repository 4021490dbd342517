"""The bundle: written whole, read only when intact."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lesion_core.bundle import (
    MANIFEST,
    BackboneIdentity,
    BundleManifest,
    TrainingFacts,
    load_bundle,
    write_bundle,
)
from lesion_core.errors import BundleError
from lesion_core.interval import Interval
from lesion_core.preprocess_spec import SHADES_OF_GREY, PreprocessSpec
from lesion_core.taxonomy import ISIC_2019
from support.decisions import DECISION

MANIFEST_VALUE = BundleManifest(
    name="skin-lesion",
    backbone=BackboneIdentity(
        name="tiny",
        plugin="lesion-plugins",
        plugin_version="0.1.0",
        code_license="Apache-2.0",
        weights_license="none",
        weights_origin="random",
    ),
    taxonomy=ISIC_2019,
    preprocess=PreprocessSpec(input_size_px=64),
    decision=DECISION,
    training=TrainingFacts(
        dataset="synthetic",
        data_digest="d",
        split_digest="s",
        seed=0,
        git_revision="g",
        lock_digest="l",
        created_at="2026-01-01T00:00:00+00:00",
        train_images=10,
        validation_images=5,
        metrics={"val_bma": Interval(value=0.5, low=0.4, high=0.6)},
    ),
)
FILES = {"weights.safetensors": b"w" * 100, "reference.safetensors": b"r" * 100, "card.md": b"# card"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", MANIFEST_VALUE, FILES).folder


def test_a_bundle_reads_back_as_it_was_written(folder: Path) -> None:
    """Round trip of every field."""
    bundle = load_bundle(folder)

    assert attrs.evolve(bundle.manifest, files={}) == MANIFEST_VALUE
    assert {name: bundle.read(name) for name in FILES} == FILES


def test_optional_steps_travel_and_are_off_where_a_manifest_does_not_name_them(tmp_path: Path) -> None:
    """A bundle from before they existed is read as it was trained."""
    spec = PreprocessSpec(input_size_px=64, crop_border=True, colour_constancy=SHADES_OF_GREY)
    folder = write_bundle(tmp_path / "steps", attrs.evolve(MANIFEST_VALUE, preprocess=spec), FILES).folder
    named = load_bundle(folder).manifest.preprocess
    data = json.loads((folder / MANIFEST).read_text())
    del data["preprocess"]["crop_border"], data["preprocess"]["colour_constancy"]
    (folder / MANIFEST).write_text(json.dumps(data))

    assert named == spec
    assert load_bundle(folder).manifest.preprocess == PreprocessSpec(input_size_px=64)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_one_flipped_bit_anywhere_is_noticed(folder: Path, data: st.DataObject) -> None:
    """In a file it is refused; in the manifest it is refused or gives another digest."""
    original = load_bundle(folder).digest
    path = folder / data.draw(st.sampled_from([*FILES, MANIFEST]))
    content = path.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(flipped))
    try:
        digest = load_bundle(folder).digest if path.name == MANIFEST else None
        if path.name != MANIFEST:
            with pytest.raises(BundleError, match="altered"):
                load_bundle(folder)
    except BundleError:
        digest = None
    finally:
        path.write_bytes(content)

    assert digest != original


def test_a_missing_and_an_unlisted_file_are_both_named(folder: Path) -> None:
    """The folder has to be exactly what the manifest says."""
    (folder / "card.md").unlink()
    (folder / "extra.py").write_text("print('boo')")

    with pytest.raises(BundleError, match=r"card\.md is missing; extra\.py is not listed"):
        load_bundle(folder)


def test_another_schema_version_is_refused(folder: Path) -> None:
    """With both versions named."""
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "schema_version": 99}))

    with pytest.raises(BundleError, match="99"):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1}', "\x00"])
def test_a_manifest_that_is_none_is_a_named_error(folder: Path, text: str) -> None:
    """Nothing else is raised."""
    (folder / MANIFEST).write_text(text)

    with pytest.raises(BundleError):
        load_bundle(folder)


def test_a_file_changed_after_loading_is_refused_when_read(folder: Path) -> None:
    """What is used is what was verified."""
    bundle = load_bundle(folder)
    (folder / "card.md").write_bytes(b"# lies")

    with pytest.raises(BundleError, match="altered"):
        bundle.read("card.md")


def test_a_bundle_is_never_overwritten(folder: Path) -> None:
    """Two runs cannot mix."""
    with pytest.raises(BundleError, match="exists already"):
        write_bundle(folder, MANIFEST_VALUE, FILES)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """Neither a half bundle nor a temporary folder."""
    with pytest.raises(TypeError):
        write_bundle(tmp_path / "b", MANIFEST_VALUE, {**FILES, "card.md": "not bytes"})  # type: ignore[dict-item]

    assert list(tmp_path.iterdir()) == []


def test_a_manifest_cannot_reach_outside_its_folder(folder: Path) -> None:
    """Path tricks are refused."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"] = {"../secret": "0" * 64}
    (folder / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(BundleError, match="outside"):
        load_bundle(folder)
