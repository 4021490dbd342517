"""Which images a bundle may be measured on: those that it was neither trained nor, if possible, tuned on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import attrs

from lesion_core.bundle import Bundle
from lesion_core.datasets import read_dataset
from lesion_core.errors import SplitError
from lesion_core.frozen_split import parts_of_dataset, read_parts, seen_in_split
from lesion_core.records import Dataset, ImageRecord, data_digest
from lesion_core.splits import TEST, TRAIN, VALIDATION, parts_digest
from lesion_core.taxonomy import ISIC_2019, Taxonomy
from lesion_train.evaluation.errors import EvaluationError
from lesion_train.record import RunRecord

ALL = "all"


class Role(StrEnum):
    """What the images were to the model.

    - *test*: set apart by the model's own split; nothing was fitted on them.
    - *validation*: of its own split; they set the temperature and the other decision parameters.
    - *foreign*: of other data than the model's.
    """

    TEST = "test"
    VALIDATION = "validation"
    FOREIGN = "foreign"


@attrs.frozen(kw_only=True)
class Choice:
    """The images to measure on, of the data set of this name, which has ``dataset_images`` where they were counted.

    ``left_out`` counts those that the model's run knows, among foreign ones; ``is_history_known``: there was its split
    to know them by.
    """

    dataset: str
    records: tuple[ImageRecord, ...]
    part: str
    role: Role
    data_digest: str | None
    split_digest: str | None
    left_out: int = 0
    is_history_known: bool = True
    dataset_images: int | None = None


def read_dataset_of(bundle: Bundle, data: Path) -> Dataset:
    """Read images to measure a bundle on: class folders by its own diagnoses, where they are not those of ISIC 2019.

    The name of a taxonomy counts too: one of somebody's own may have the same codes for other folders.

    Raises:
        DatasetError: lists all problems, each with file and row.
    """
    own = bundle.manifest.taxonomy
    is_standard = (own.name, own.codes) == (ISIC_2019.name, ISIC_2019.codes)
    return read_dataset(data, None if is_standard else own, with_none=True)


def choose_images(bundle: Bundle, dataset: Dataset, *, split: Path | None, part: str | None) -> Choice:
    """Choose the part that is measured.

    With ``split``, its ``part``. Without, the split that the bundle's own run recorded beside it, if it is for this
    data. Otherwise all images are foreign; those that the run's split knows are left out. A bundle that was fetched has
    no split beside it: ``split`` may be that one too, also for other data.

    Images that are labelled *none of the above* are in no split; they are measured beside any part, without those whose
    lesion or patient the run knows.

    Args:
        bundle: that is measured.
        dataset: its own test part counts as images like the others.
        split: a frozen split.
        part: of the split; ``test`` where it has one, else ``validation``, without it.
    Raises:
        EvaluationError: ``needs_split``: this is the data that the bundle was trained on, and no split says which
            images were held out; ``trained_on``: the part was trained on, or may have been; ``no_such_part``;
            ``nothing_left``; ``unknown_labels``.
        SplitError: the split is unreadable, altered, or for other data.
    """
    everything = (*dataset.records, *dataset.test)
    require_known_labels(everything, bundle.manifest.taxonomy)
    label = bundle.manifest.taxonomy.none_of_the_above.code
    none = tuple(record for record in everything if record.diagnosis == label)
    if len(none) == len(everything):
        raise EvaluationError(
            f"All {len(none)} images are labelled {label}: give their folder to --ood, and images of the diagnoses "
            "that the model knows to --data.",
            code="nothing_left",
        )
    own = _own_split(bundle, split)
    choice = _choose(bundle, _without(dataset, label), split=split, part=part, own=own)
    choice = attrs.evolve(choice, dataset_images=len(everything))
    if not none:
        return choice  # whose digest has read every file already
    seen = _seen(bundle, none, own)
    return attrs.evolve(
        choice,
        records=(*choice.records, *(record for record in none if record.isic_id not in seen)),
        left_out=choice.left_out + len(seen),
        data_digest=data_digest(everything),
    )


def _without(dataset: Dataset, label: str) -> Dataset:
    def others(records: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
        return tuple(record for record in records if record.diagnosis != label)

    return attrs.evolve(dataset, records=others(dataset.records), test=others(dataset.test))


def _choose(bundle: Bundle, dataset: Dataset, *, split: Path | None, part: str | None, own: Path | None) -> Choice:
    """Of a data set whose images the model can all name."""
    everything = (*dataset.records, *dataset.test)
    digest = data_digest(everything)
    if split is not None and (not _is_of(split, bundle) or _is_for(split, dataset)):
        return _part_of(split, dataset, bundle, digest, part, own)
    if own is not None and _is_for(own, dataset):
        return _part_of(own, dataset, bundle, digest, part, own)
    if digest == bundle.manifest.training.data_digest:
        raise EvaluationError(
            "This is the data that the bundle was trained on, and no split says which images were held out: give "
            "--split FILE, the split.csv of its run.",
            code="needs_split",
        )
    if part is not None:
        raise EvaluationError(
            f"This is not the data that the bundle was trained on, so it has no part {part!r} of its own split: give "
            "that data, or a split of this one with --split FILE.",
            code="no_such_part",
        )
    records = _unseen(bundle, everything, own)
    return Choice(
        dataset=dataset.name,
        records=records,
        part=ALL,
        role=Role.FOREIGN,
        data_digest=digest,
        split_digest=None,
        left_out=len(everything) - len(records),
        is_history_known=own is not None,
    )


def require_known_labels(records: Sequence[ImageRecord], taxonomy: Taxonomy) -> None:
    """Check that the model could give every label.

    Raises:
        EvaluationError: ``unknown_labels``.
    """
    unknown = Counter(record.diagnosis for record in records if record.diagnosis not in taxonomy.codes)
    if unknown:
        named = ", ".join(f"{label} ({count:,} images)" for label, count in sorted(unknown.items()))
        raise EvaluationError(
            f"The model does not know these labels: {named}. It knows {', '.join(taxonomy.codes)}. "
            "Remove these images, or label them as one of these.",
            code="unknown_labels",
        )


def _own_split(bundle: Bundle, given: Path | None) -> Path | None:
    """The split of the bundle's own run: the one that it recorded beside the bundle, or the one that is given."""
    beside = RunRecord(bundle.folder.resolve().parent).split
    possible = (*((beside,) if beside.is_file() else ()), *(() if given is None else (given,)))
    return next((path for path in possible if _is_of(path, bundle)), None)


def _is_of(split: Path, bundle: Bundle) -> bool:
    """Whether the bundle was trained on it, by its digest."""
    read_parts(split)  # it is what its first line says
    first = split.read_text(encoding="utf-8").partition("\n")[0]
    return first.endswith(bundle.manifest.training.split_digest)


def _is_for(split: Path, dataset: Dataset) -> bool:
    try:
        parts_of_dataset(split, dataset)
    except SplitError as error:
        if error.code == "other_data":
            return False
        raise
    return True


def _part_of(split: Path, dataset: Dataset, bundle: Bundle, digest: str, part: str | None, own: Path | None) -> Choice:
    parts = parts_of_dataset(split, dataset)
    name = part or (TEST if TEST in parts else VALIDATION)
    if name not in parts:
        raise EvaluationError(
            f"{split} has no part {name!r}. It has {', '.join(sorted(parts))}: choose one with --part.",
            code="no_such_part",
        )
    role = _role(parts, name, bundle, digest)
    records = _unseen(bundle, parts[name], own) if role is Role.FOREIGN else parts[name]
    return Choice(
        dataset=dataset.name,
        records=records,
        part=name,
        role=role,
        data_digest=digest,
        split_digest=parts_digest(parts),
        left_out=len(parts[name]) - len(records),
        is_history_known=role is not Role.FOREIGN or own is not None,
    )


def _unseen(bundle: Bundle, records: tuple[ImageRecord, ...], own: Path | None) -> tuple[ImageRecord, ...]:
    """Foreign images without those that the bundle's run knows, and those that its starting weights learnt from."""
    seen = _seen(bundle, records, own)
    left = tuple(record for record in records if record.isic_id not in seen)
    if not left:
        raise EvaluationError(
            f"All {len(records)} images are in the split of the bundle's own run, or of the run that it started from, "
            "by image, lesion or patient: nothing is left to measure on. Give other images.",
            code="nothing_left",
        )
    return left


def _seen(bundle: Bundle, records: Sequence[ImageRecord], own: Path | None) -> set[str]:
    run = RunRecord(bundle.folder.resolve().parent)
    seen = set[str]() if own is None else {record.isic_id for record in seen_in_split(own, records)}
    for path in run.earlier_splits:
        seen |= {record.isic_id for record in seen_in_split(path, records, parts=(TRAIN, VALIDATION))}
    return seen


def _role(parts: Mapping[str, Sequence[ImageRecord]], name: str, bundle: Bundle, digest: str) -> Role:
    """What the part was to the model, as far as digests can prove it."""
    facts = bundle.manifest.training
    held_out = next((other for other in parts if _as_run(parts, other) == facts.split_digest), None)
    if held_out is None and digest != facts.data_digest:
        return Role.FOREIGN
    if held_out is None:
        raise EvaluationError(
            f"The bundle was trained on this data with another split (digest {facts.split_digest[:12]}…): images of "
            f"part {name!r} may have been trained on. Give the split.csv of its run.",
            code="trained_on",
        )
    if name not in (held_out, TEST):
        possible = " or ".join(repr(other) for other in parts if other in (held_out, TEST))
        raise EvaluationError(
            f"The bundle was trained on part {name!r}: a score there would be too good. Choose {possible} with --part.",
            code="trained_on",
        )
    return Role.TEST if name == TEST else Role.VALIDATION


def _as_run(parts: Mapping[str, Sequence[ImageRecord]], held_out: str) -> str:
    """Digest of the split that a run records which holds this part out and trains on the others."""
    training = [record for other in parts if other not in (held_out, TEST) for record in parts[other]]
    test = {TEST: parts[TEST]} if TEST in parts else {}
    return parts_digest({TRAIN: training, VALIDATION: parts[held_out], **test})
