"""Which images a run is trained on, which it is watched on, and which it is measured on once."""

from __future__ import annotations

from pathlib import Path

import attrs

from lesion_core.errors import SplitError
from lesion_core.frozen_split import keep_parts, parts_of_dataset
from lesion_core.records import Dataset, ImageRecord
from lesion_core.splits import (
    FOLD,
    TEST,
    TRAIN,
    VALIDATION,
    Split,
    folds_as_parts,
    k_folds,
    set_apart,
    split_by_lesion,
    split_newcomers,
)
from lesion_train.config import TrainConfig
from lesion_train.record import RunRecord


def measured_parts(split: Split, record: RunRecord) -> dict[str, tuple[ImageRecord, ...]]:
    """The parts that a run's model is asked about: all, or all but the test part for one of several runs of a study.

    The folds of a cross-validation and the trials of a search would otherwise look at the test part once each, and
    whoever saw their scores could choose by them.
    """
    return {name: images for name, images in split.parts.items() if name != TEST or record.parent is None}


def parts_to_freeze(
    dataset: Dataset,
    *,
    folds: int | None,
    validation_fraction: float,
    test_fraction: float | None,
    keep: Path | None = None,
    seed: int,
) -> dict[str, tuple[ImageRecord, ...]]:
    """Training, validation and perhaps test part, or folds and perhaps a test part, by name.

    Args:
        dataset: with a test part of its own, that is the test part.
        folds: so many of them; ``None`` for a training and a validation part.
        validation_fraction: of all records; without folds.
        test_fraction: of all records; ``None`` for 0.15 without folds, and none with them.
        keep: frozen split whose images, lesions and patients stay in its parts; without folds or an own test part.
        seed: chooses among equally good splits.
    Raises:
        SplitError: too few lesions of a class for so many parts; ``keep`` does not fit.
    """
    default = 0.15 if folds is None else 0.0
    held_out = 0.0 if dataset.test else default if test_fraction is None else test_fraction
    if keep is not None and (folds is not None or dataset.test):
        raise SplitError("--keep goes with neither --folds nor a data set that has a test part of its own.")
    if folds is not None:
        rest, test = set_apart(dataset.records, dataset.taxonomy, fraction=held_out, seed=seed)
        parts = folds_as_parts(k_folds(rest, dataset.taxonomy, folds=folds, seed=seed))
        test = test or dataset.test
        return {**parts, **({TEST: test} if test else {})}
    kept, records = keep_parts(keep, dataset.records) if keep is not None else ({}, dataset.records)
    make = split_by_lesion if keep is None else split_newcomers
    parts = make(
        records, dataset.taxonomy, validation_fraction=validation_fraction, test_fraction=held_out, seed=seed
    ).parts
    joined = {name: (*kept.get(name, ()), *parts.get(name, ())) for name in {**parts, **kept}}
    return {**joined, **({TEST: dataset.test} if dataset.test else {})}


def make_split(dataset: Dataset, config: TrainConfig) -> Split:
    """The frozen split that the settings name, or a new one; with the data set's own test part where it has one.

    A frozen split of parts ``train`` and ``validation`` is taken as it is; of k folds, ``fold`` is held out and the
    others are trained on. In both, a part ``test`` is held out for one measurement at the end.

    Raises:
        SplitError: the frozen split is not for this data, or does not have these parts; or none can be made.
    """
    if config.split is None:
        if config.fold is not None:
            raise SplitError("A fold needs the frozen split that it is a fold of: give --split FILE too.")
        split = split_by_lesion(
            dataset.records,
            dataset.taxonomy,
            validation_fraction=config.validation_fraction,
            test_fraction=0.0 if dataset.test else config.test_fraction,
            seed=config.seed,
        )
        return attrs.evolve(split, test=split.test or dataset.test)
    parts = parts_of_dataset(config.split, dataset)
    test = parts.pop(TEST, ())
    if dataset.test and test != dataset.test:
        raise SplitError(f"Part '{TEST}' of {config.split} is not the test part of {dataset.name}.", code="other_data")
    held_out = VALIDATION if config.fold is None else f"{FOLD}{config.fold}"
    others = [name for name in parts if name != held_out]
    if held_out not in parts or not others or (config.fold is None and others != [TRAIN]):
        raise SplitError(
            f"{config.split} has the parts {', '.join(sorted(parts))}. A run needs '{TRAIN}' and '{VALIDATION}', or "
            f"'{FOLD}1', '{FOLD}2' … with --fold K."
        )
    train = [record for name in others for record in parts[name]]
    return Split(train=tuple(sorted(train, key=lambda record: record.isic_id)), validation=parts[held_out], test=test)
