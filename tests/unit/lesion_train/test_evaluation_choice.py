"""Which images a bundle is measured on."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import pytest

from lesion_core.bundle import BackboneIdentity, Bundle, BundleManifest, TrainingFacts
from lesion_core.datasets import read_dataset
from lesion_core.datasets.isic import GROUND_TRUTH, IMAGES
from lesion_core.errors import SplitError
from lesion_core.frozen_split import write_parts
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.records import Dataset, data_digest
from lesion_core.splits import TEST, TRAIN, VALIDATION, folds_as_parts, k_folds, parts_digest, split_by_lesion
from lesion_core.taxonomy import ISIC_2019
from lesion_train.evaluation.choice import Choice, Role, choose_images
from lesion_train.evaluation.errors import EvaluationError
from lesion_train.evaluation.run import EvaluationOptions, evaluate_bundle
from support.decisions import DECISION
from support.layouts import FakeImage, write_isic_2019, write_pictures

CODES = ("MEL", "NV", "BCC")


def images(prefix: str, codes: tuple[str, ...] = CODES, each: int = 6) -> list[FakeImage]:
    return [
        FakeImage(name=f"{prefix}_{code}_{number}", diagnosis=code, lesion=f"{prefix}-{code}-{number // 2}")
        for code in codes
        for number in range(each)
    ]


def bundle_of(folder: Path, data: str, split: str) -> Bundle:
    """The record of a run: its bundle, of these digests."""
    nobody = BackboneIdentity(
        name="x", plugin="x", plugin_version="1", code_license="MIT", weights_license="MIT", weights_origin="none"
    )
    facts = TrainingFacts(
        dataset="isic-2019:own",
        data_digest=data,
        split_digest=split,
        seed=0,
        git_revision="none",
        lock_digest="0" * 64,
        created_at="2026-01-01T00:00:00+00:00",
        train_images=1,
        validation_images=1,
        metrics={},
    )
    manifest = BundleManifest(
        name="skin-lesion",
        backbone=nobody,
        taxonomy=ISIC_2019,
        preprocess=PreprocessSpec(input_size_px=32),
        decision=DECISION,
        training=facts,
    )
    return Bundle(folder=folder / "bundle", manifest=manifest, digest="0" * 64)


@attrs.frozen(kw_only=True)
class Trained:
    """A data set, and the record of a run on it; ``split`` is the run's own."""

    data: Path
    dataset: Dataset
    bundle: Bundle
    split: Path


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    data, run = tmp_path / "own", tmp_path / "run"
    write_isic_2019(data, images("own"))
    run.mkdir()
    dataset = read_dataset(data)
    split = split_by_lesion(dataset.records, ISIC_2019, validation_fraction=0.33, seed=0)
    digest = write_parts(split.parts, run / "split.csv")
    bundle = bundle_of(run, data_digest(dataset.records), digest)
    return Trained(data=data, dataset=dataset, bundle=bundle, split=run / "split.csv")


def choose(bundle: Bundle, dataset: Dataset, split: Path | None = None, part: str | None = None) -> Choice:
    return choose_images(bundle, dataset, split=split, part=part)


def refusal(bundle: Bundle, dataset: Dataset, split: Path | None = None, part: str | None = None) -> EvaluationError:
    with pytest.raises(EvaluationError) as caught:
        choose(bundle, dataset, split, part)
    return caught.value


def moved(trained: Trained, folder: Path) -> Bundle:
    """The bundle without its run's record, as one that was downloaded."""
    return attrs.evolve(trained.bundle, folder=folder / "elsewhere" / "bundle")


def test_the_run_s_own_validation_part_is_taken_and_called_so(trained: Trained) -> None:
    """The model did not see it, but its decision parameters did."""
    choice = choose(trained.bundle, trained.dataset)

    assert (choice.part, choice.role) == (VALIDATION, Role.VALIDATION)
    assert choice.split_digest == trained.bundle.manifest.training.split_digest
    assert 0 < len(choice.records) < len(trained.dataset.records)


def test_a_test_part_is_preferred(trained: Trained) -> None:
    """Nothing was fitted on it."""
    everything = trained.dataset.records
    folds = folds_as_parts(k_folds(everything, ISIC_2019, folds=3, seed=0))
    parts = dict(zip((TRAIN, VALIDATION, TEST), folds.values(), strict=True))
    digest = write_parts(parts, trained.split)
    bundle = bundle_of(trained.split.parent, data_digest(everything), digest)

    choice = choose(bundle, trained.dataset)

    assert (choice.part, choice.role) == (TEST, Role.TEST)
    assert choice.records == parts[TEST]


def test_the_training_part_is_refused(trained: Trained) -> None:
    """It names the part that can be measured."""
    error = refusal(trained.bundle, trained.dataset, part=TRAIN)

    assert error.code == "trained_on"
    assert f"Choose '{VALIDATION}'" in error.message


def test_the_data_that_was_trained_on_needs_a_split(trained: Trained, tmp_path: Path) -> None:
    """A bundle alone does not say which images were held out; its digest says that these are the ones."""
    error = refusal(moved(trained, tmp_path), trained.dataset)

    assert error.code == "needs_split"
    assert "--split FILE" in error.message


def test_a_split_that_is_given_serves_like_the_run_s_own(trained: Trained, tmp_path: Path) -> None:
    """For a bundle that was downloaded."""
    given = Path(shutil.copy(trained.split, tmp_path / "given.csv"))

    choice = choose(moved(trained, tmp_path), trained.dataset, split=given)

    assert choice == choose(trained.bundle, trained.dataset)


def test_another_split_of_the_same_data_is_refused(trained: Trained, tmp_path: Path) -> None:
    """Its validation part holds images that were trained on."""
    other = split_by_lesion(trained.dataset.records, ISIC_2019, validation_fraction=0.33, seed=5)
    write_parts(other.parts, tmp_path / "other.csv")

    error = refusal(trained.bundle, trained.dataset, split=tmp_path / "other.csv")

    assert error.code == "trained_on"
    assert "another split" in error.message


def test_of_k_folds_the_one_that_was_held_out_is_recognised(trained: Trained, tmp_path: Path) -> None:
    """By the digest that a run on the other folds records."""
    folds = k_folds(trained.dataset.records, ISIC_2019, folds=3, seed=0)
    write_parts(folds_as_parts(folds), tmp_path / "folds.csv")
    bundle = bundle_of(tmp_path / "none", data_digest(trained.dataset.records), parts_digest(folds[1].parts))

    choice = choose(bundle, trained.dataset, split=tmp_path / "folds.csv", part="fold-2")

    assert choice.role is Role.VALIDATION
    assert choice.records == folds[1].validation
    assert refusal(bundle, trained.dataset, tmp_path / "folds.csv", "fold-1").code == "trained_on"


def test_other_data_is_foreign_and_all_of_it_is_taken(trained: Trained, tmp_path: Path) -> None:
    """Its own test part too."""
    write_isic_2019(tmp_path / "other", images("other"))
    dataset = read_dataset(tmp_path / "other")

    choice = choose(trained.bundle, dataset)

    assert (choice.part, choice.role, choice.left_out) == ("all", Role.FOREIGN, 0)
    assert choice.records == dataset.records


def test_other_data_has_no_part_of_the_run_s_own_split(trained: Trained, tmp_path: Path) -> None:
    """An export asks for one by itself."""
    write_isic_2019(tmp_path / "other", images("other"))

    error = refusal(trained.bundle, read_dataset(tmp_path / "other"), part=VALIDATION)

    assert error.code == "no_such_part"
    assert "not the data that the bundle was trained on" in error.message


def test_images_that_the_run_knows_are_left_out_of_other_data(trained: Trained, tmp_path: Path) -> None:
    """By image or lesion: a larger collection often holds a smaller one."""
    another_view = FakeImage(name="new_view", diagnosis="MEL", lesion="own-MEL-0")
    write_isic_2019(tmp_path / "more", [*images("own"), another_view, *images("new")])

    choice = choose(trained.bundle, read_dataset(tmp_path / "more"))

    assert choice.left_out == len(images("own")) + 1
    assert {record.isic_id for record in choice.records} == {image.name for image in images("new")}


def test_images_that_the_run_knows_are_left_out_of_a_part_of_other_data(trained: Trained, tmp_path: Path) -> None:
    """A data set that has grown, with a new split of its own, may hold out what the run trained on."""
    write_isic_2019(tmp_path / "grown", [*images("own"), *images("new")])
    dataset = read_dataset(tmp_path / "grown")
    split = split_by_lesion(dataset.records, ISIC_2019, validation_fraction=0.33, seed=5)
    write_parts(split.parts, tmp_path / "grown.csv")

    choice = choose(trained.bundle, dataset, tmp_path / "grown.csv", "validation")

    assert choice.role is Role.FOREIGN
    assert choice.records == tuple(record for record in split.validation if record.isic_id.startswith("new"))
    assert choice.left_out == len(split.validation) - len(choice.records) > 0


def test_images_that_the_starting_weights_learnt_from_are_left_out_too(trained: Trained, tmp_path: Path) -> None:
    """Those that the first run trained on or chose by; its test part is as good as any other image."""
    write_isic_2019(tmp_path / "first", images("first"))
    dataset = read_dataset(tmp_path / "first")
    split = split_by_lesion(dataset.records, ISIC_2019, validation_fraction=0.33, test_fraction=0.33, seed=0)
    earlier = trained.bundle.folder.parent / "earlier"
    earlier.mkdir()
    write_parts(split.parts, earlier / "1.csv")

    choice = choose(trained.bundle, dataset)

    assert choice.records == split.test
    assert choice.left_out == len(split.train) + len(split.validation)


def test_data_of_which_the_run_knows_everything_is_refused(trained: Trained, tmp_path: Path) -> None:
    """Nothing is left."""
    write_isic_2019(tmp_path / "less", images("own")[:8])

    assert refusal(trained.bundle, read_dataset(tmp_path / "less")).code == "nothing_left"


def test_labels_that_the_model_cannot_give_are_named(trained: Trained) -> None:
    """With how many images have them, and what it knows."""
    strange = attrs.evolve(trained.dataset.records[0], diagnosis="WART")
    dataset = attrs.evolve(trained.dataset, records=(strange, *trained.dataset.records[1:]))

    error = refusal(trained.bundle, dataset)

    assert error.code == "unknown_labels"
    assert "does not know these labels: WART (1 images)" in error.message


def test_images_of_none_of_the_above_are_measured_beside_any_part(trained: Trained) -> None:
    """No split knows them; one of a lesion that was trained on is left out. Alone they are strange images."""
    first, second = trained.dataset.records[:2]
    none = [attrs.evolve(first, isic_id=f"n{number}", lesion_id=f"n{number}", diagnosis="UNK") for number in range(3)]
    known = attrs.evolve(second, isic_id="known", diagnosis="UNK")
    plain = choose(trained.bundle, trained.dataset)

    choice = choose(trained.bundle, attrs.evolve(trained.dataset, records=(*trained.dataset.records, *none, known)))

    assert (choice.part, choice.role, choice.left_out) == (plain.part, plain.role, 1)
    assert choice.records == (*plain.records, *none)
    assert choice.data_digest != plain.data_digest
    assert "--ood" in refusal(trained.bundle, attrs.evolve(trained.dataset, records=tuple(none))).message


def test_a_part_that_does_not_exist_is_named(trained: Trained) -> None:
    """With those that do."""
    error = refusal(trained.bundle, trained.dataset, part="fold-7")

    assert error.code == "no_such_part"
    assert f"It has {TRAIN}, {VALIDATION}" in error.message


def test_a_split_for_other_data_is_refused(trained: Trained, tmp_path: Path) -> None:
    """When it was asked for by name, and is not the run's own."""
    write_isic_2019(tmp_path / "other", images("other"))
    other = split_by_lesion(trained.dataset.records, ISIC_2019, validation_fraction=0.33, seed=5)
    write_parts(other.parts, tmp_path / "other.csv")

    with pytest.raises(SplitError, match="was frozen for other data"):
        choose(trained.bundle, read_dataset(tmp_path / "other"), split=tmp_path / "other.csv")


def test_a_bundle_without_its_split_does_not_know_what_it_was_trained_on(trained: Trained, tmp_path: Path) -> None:
    """One that was fetched. A larger collection often holds the smaller one: the run's split leaves its images out."""
    write_isic_2019(tmp_path / "more", [*images("own"), *images("new")])
    dataset, fetched = read_dataset(tmp_path / "more"), moved(trained, tmp_path)

    alone, told = choose(fetched, dataset), choose(fetched, dataset, split=trained.split)

    assert (alone.is_history_known, alone.left_out, len(alone.records)) == (False, 0, len(dataset.records))
    assert (told.is_history_known, told.left_out) == (True, len(images("own")))
    assert {record.isic_id for record in told.records} == {image.name for image in images("new")}


def test_an_altered_split_beside_the_bundle_is_refused(trained: Trained) -> None:
    """Instead of taking all images for foreign ones."""
    trained.split.write_text(trained.split.read_text().replace(VALIDATION, TRAIN, 1))

    with pytest.raises(SplitError, match="was altered"):
        choose(trained.bundle, trained.dataset)


def test_what_the_folder_holds_that_is_not_measured_is_said_first(trained: Trained, tmp_path: Path) -> None:
    """As ``fit`` and ``data check`` say it; also where nothing can be measured."""
    notes: list[str] = []
    options = EvaluationOptions(part="no such part")
    write_pictures(trained.data / IMAGES, ["stray.jpg"])

    with pytest.raises(EvaluationError):
        evaluate_bundle(trained.bundle, trained.data, tmp_path / "out", options, on_note=notes.append)

    assert notes == [f"1 images are not listed in {GROUND_TRUTH}, so they are not used: stray"]
