"""What a model card is made from, without training; and readers of its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import numpy as np
import safetensors.numpy

from lesion_core.bundle import REFERENCE, Bundle
from lesion_core.datasets import isic, read_dataset
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.decision.ood import NetworkOutput
from lesion_core.interval import Interval
from lesion_core.records import ImageRecord, labels_of
from lesion_core.splits import TEST, VALIDATION, split_by_lesion
from lesion_core.taxonomy import ISIC_2019
from lesion_train.bundling import PREFIXES
from lesion_train.card import CardFacts
from lesion_train.config import TrainConfig
from lesion_train.config_file import without_paths
from lesion_train.evaluation.choice import Choice, Role
from lesion_train.evaluation.headline import headline_metrics
from lesion_train.evaluation.measure import measure_outputs
from lesion_train.evaluation.values import Evaluation
from support.bundles import make_tiny_bundle

RESAMPLES = 20


def make_card_facts(folder: Path) -> CardFacts:
    """Of a run with a test part."""
    bundle = make_tiny_bundle(folder / "bundle")
    data = write_synthetic_dataset(folder / "data", images_per_class=40, side_px=24)
    records = with_people(read_dataset(data).records)
    split = split_by_lesion(records, ISIC_2019, validation_fraction=0.25, test_fraction=0.25, seed=0)
    evaluations, metrics = {}, {"val_bma_with_none": Interval(value=0.123, low=0.1, high=0.15)}
    for part in (VALIDATION, TEST):
        evaluations[part], found = evaluation_of(bundle, part, split.parts[part])
        metrics |= found
    training = attrs.evolve(bundle.manifest.training, metrics=metrics, dataset="isic-2019:pretended")
    return CardFacts(
        manifest=attrs.evolve(bundle.manifest, training=training),
        parameters=3_381_256,
        settings=without_paths(TrainConfig(data=data)),
        split=split,
        source=isic.SOURCE,
        evaluations=evaluations,
    )


def cells_of(line: str) -> list[str]:
    """Cells of a table's row, where no bar is escaped."""
    return [cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", line.strip())[1:-1]]


def tables_of(card: str) -> Iterator[list[list[str]]]:
    for block in re.findall(r"(?:^\|.*\n?)+", card, flags=re.MULTILINE):
        yield [cells_of(line) for line in block.splitlines()]


def section(card: str, heading: str) -> str:
    return re.split(r"^## ", card.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]


def row(card: str, start: str) -> list[str]:
    (found,) = [cells for rows in tables_of(card) for cells in rows if cells[0].startswith(start)]
    return found


def with_people(records: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
    """Women on the head and men on the leg; nine of ten images are of women."""
    groups = (("female", "head/neck"), ("male", "lower extremity"))
    told = [groups[number % 10 == 0] for number in range(len(records))]
    return tuple(
        attrs.evolve(record, sex=sex, anatom_site_general=site)
        for record, (sex, site) in zip(records, told, strict=True)
    )


def evaluation_of(
    bundle: Bundle, part: str, records: tuple[ImageRecord, ...]
) -> tuple[Evaluation, dict[str, Interval]]:
    """Of made-up answers, and the metrics that a run would put into its manifest."""
    reference = safetensors.numpy.load(bundle.read(REFERENCE))
    random, labels = np.random.default_rng(len(records)), labels_of(records, ISIC_2019)
    output = NetworkOutput(
        logits=random.normal(0, 1, (len(records), 8)) + 2 * np.eye(8)[labels],
        embeddings=random.normal(0, 1, (len(records), reference["class_means"].shape[1])),
    )
    choice = Choice(dataset="pretended", records=records, part=part, role=Role(part), data_digest="d", split_digest="s")
    evaluation, _ = measure_outputs(output, choice, manifest=bundle.manifest, reference=reference, resamples=RESAMPLES)
    return evaluation, headline_metrics(evaluation, prefix=PREFIXES[part])
