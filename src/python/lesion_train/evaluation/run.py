"""Measure a bundle, and write the report: from answers, or from a bundle and a folder of images."""

# N images · P side of the stored squares

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import attrs
import numpy as np
import safetensors.numpy
import structlog
import torch

from lesion_core.bundle import REFERENCE, Bundle, BundleManifest
from lesion_core.datasets import require_folder
from lesion_core.datasets.image_files import find_images
from lesion_core.decision.metadata import encode_metadata
from lesion_core.decision.ood import NetworkOutput, Reference
from lesion_core.durable import write_whole
from lesion_core.errors import DatasetError
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.records import ImageRecord
from lesion_core.taxonomy import Taxonomy
from lesion_plugins.classifier import classifier_from_bundle
from lesion_plugins.registry import BackboneRegistry
from lesion_train.devices import resolve_device
from lesion_train.evaluation.choice import Choice, choose_images, read_dataset_of
from lesion_train.evaluation.errors import EvaluationError
from lesion_train.evaluation.figures import write_figure
from lesion_train.evaluation.measure import NOTHING_STRANGE, RESAMPLES, measure_outputs
from lesion_train.evaluation.mistakes import thumbnails
from lesion_train.evaluation.part import AnsweredPart, answer
from lesion_train.evaluation.report import draw_pictures, render_report
from lesion_train.evaluation.robustness import measure_robustness, photograph_spec
from lesion_train.evaluation.submission import require_isic_classes, write_submission
from lesion_train.evaluation.values import (
    NUMBERS,
    REPORT,
    Evaluation,
    Robustness,
    to_json,
)
from lesion_train.inference import run_network
from lesion_train.squares import SquareCache, Squares
from lesion_train.threads import ALL_CORES

log = structlog.get_logger()

FIGURES = ("confusion", "roc", "reliability", "classes")  # files beside the report, for those who show them elsewhere


@attrs.frozen(kw_only=True)
class EvaluationOptions:
    """How ``evaluate_bundle`` measures.

    Attributes:
        split: frozen split; ``None`` takes that of the bundle's own run.
        part: of the split; ``None`` takes ``test``, or ``validation`` where there is none.
        ood: folder whose folders are groups of strange images.
        corruptions: measure on corrupted images too.
        with_thumbnails: the report shows images of patients.
        isic_csv: where to write the challenge's file.
        resamples: of the bootstrap.
        threads: that decode and calculate; one for each core that this program may use if not given.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    split: Path | None = None
    part: str | None = None
    ood: Path | None = None
    corruptions: bool = False
    with_thumbnails: bool = True
    isic_csv: Path | None = None
    resamples: int = RESAMPLES
    threads: int = ALL_CORES
    device: str = "auto"


def evaluate_outputs(
    output: NetworkOutput,
    choice: Choice,
    *,
    manifest: BundleManifest,
    reference: Reference,
    folder: Path,
    output_with_metadata: NetworkOutput | None = None,
    bundle_digest: str | None = None,
    squares: Squares | None = None,
    strange: Mapping[str, NetworkOutput] = NOTHING_STRANGE,
    robustness: Robustness | None = None,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """``measure_outputs``, and write ``report.html``, its figures and ``evaluation.json``.

    Args: as for ``measure_outputs``, and
        folder: to write to; made where it is missing.
        squares: uint8 ``(N, P, P, 3)``, for thumbnails; without, the report shows no image of a patient.
    Raises:
        EvaluationError: as ``measure_outputs``; ``folder_taken``: it holds an evaluation.
    """
    require_free(folder)
    evaluation, part = measure_outputs(
        output,
        choice,
        manifest=manifest,
        reference=reference,
        output_with_metadata=output_with_metadata,
        bundle_digest=bundle_digest,
        strange=strange,
        robustness=robustness,
        resamples=resamples,
    )
    write_evaluation(evaluation, part, folder, squares)
    return evaluation


def evaluate_bundle(
    bundle: Bundle,
    data: Path,
    folder: Path,
    options: EvaluationOptions,
    *,
    on_note: Callable[[str], None] | None = None,
) -> Evaluation:
    """Run a bundle's network on a data set, measure, and write the report.

    Args:
        bundle: that is measured.
        data: folder of the data set, in any known layout; with class folders, named by the bundle's own taxonomy.
        folder: to write to.
        options: how.
        on_note: told each of the data set's notes, before anything is measured.
    Raises:
        EvaluationError: see ``choose_images`` and ``evaluate_outputs``; ``other_taxonomy`` of ``isic_csv``.
        LesionError: a named problem with the data or the bundle.
    """
    require_free(folder)
    manifest = bundle.manifest
    if options.isic_csv is not None:
        require_isic_classes(manifest.taxonomy)
    device = resolve_device(options.device)
    torch.set_num_threads(options.threads)
    dataset = read_dataset_of(bundle, data)
    if on_note is not None:
        for note in dataset.notes:
            on_note(note)
    choice = choose_images(bundle, dataset, split=options.split, part=options.part)
    log.info("images_chosen", part=choice.part, role=choice.role.value, images=len(choice.records))
    strange_records = _strange_images(options.ood, manifest.taxonomy) if options.ood else {}
    reference = safetensors.numpy.load(bundle.read(REFERENCE))
    network = partial(
        run_network, classifier_from_bundle(bundle, BackboneRegistry.load()).to(device), spec=manifest.preprocess
    )

    with tempfile.TemporaryDirectory(prefix="lesion-squares-") as scratch:

        def decode(records: tuple[ImageRecord, ...], spec: PreprocessSpec) -> Squares:
            """Left on the disk: memory does not grow with their number."""
            return SquareCache(Path(scratch), records, threads=options.threads).squares(records, spec)

        squares = decode(choice.records, manifest.preprocess)
        output, with_metadata = network(squares, shown="images"), None
        if manifest.metadata_sites is not None:
            told = encode_metadata(choice.records, manifest.metadata_sites).astype(np.float32)
            with_metadata = network(squares, metadata=told, shown="images, metadata")
        strange = {
            name: network(decode(records, manifest.preprocess), shown=name) for name, records in strange_records.items()
        }
        robustness = None
        if options.corruptions:
            robustness = measure_robustness(
                network,
                decode(choice.records, photograph_spec(manifest.preprocess)),
                choice.records,
                manifest=manifest,
                reference=reference,
                resamples=options.resamples,
            )
        evaluation = evaluate_outputs(
            output,
            choice,
            manifest=manifest,
            reference=reference,
            folder=folder,
            output_with_metadata=with_metadata,
            bundle_digest=bundle.digest,
            squares=squares if options.with_thumbnails else None,
            strange=strange,
            robustness=robustness,
            resamples=options.resamples,
        )
    if options.isic_csv is not None:
        answers = answer(output, choice.records, manifest=manifest, reference=reference, resamples=0)
        images = [record.isic_id for record in choice.records]
        write_submission(images, answers.decisions.probabilities, options.isic_csv)
    return evaluation


def require_free(folder: Path) -> None:
    """Check that a folder, where it is there, is one and holds no evaluation yet.

    Raises:
        EvaluationError: ``folder_taken``.
    """
    if folder.exists() and not folder.is_dir():
        raise EvaluationError(f"{folder} is a file: name a folder for the report.", code="folder_taken")
    taken = [name for name in (REPORT, NUMBERS) if (folder / name).exists()]
    if taken:
        raise EvaluationError(
            f"{folder} holds an evaluation already ({', '.join(taken)}). Choose another folder, or remove it first.",
            code="folder_taken",
        )


def _strange_images(folder: Path, taxonomy: Taxonomy) -> dict[str, tuple[ImageRecord, ...]]:
    """The images below each folder of a folder, as records of *none of the above*."""
    require_folder(folder)
    groups: dict[str, tuple[ImageRecord, ...]] = {}
    problems: list[str] = []
    for group in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        found = find_images([group], problems)
        if found:
            groups[group.name] = tuple(
                ImageRecord(
                    isic_id=f"{group.name}/{name}",
                    path=path,
                    diagnosis=taxonomy.none_of_the_above.code,
                    lesion_id=f"{group.name}/{name}",
                )
                for name, path in sorted(found.items())
            )
    if problems or not groups:
        raise DatasetError(folder, tuple(problems) or ("expected folders with images, each of them one group",))
    return groups


def write_evaluation(evaluation: Evaluation, part: AnsweredPart, folder: Path, squares: Squares | None = None) -> None:
    """Write ``report.html``, its figures and ``evaluation.json``; arguments as for ``evaluate_outputs``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / NUMBERS, to_json(evaluation))
    shown: dict[str, str] = {}
    if squares is not None:
        images = [record.isic_id for record in part.records]
        shown = thumbnails(squares, images, (*evaluation.mistakes, *evaluation.missed))
    pictures = draw_pictures(evaluation, part)
    for name in FIGURES:
        write_figure(getattr(pictures, name), folder / f"{name}.svg")
    report = render_report(evaluation, pictures, shown)
    write_whole(folder / REPORT, report)  # last: whoever finds it takes the rest for written
