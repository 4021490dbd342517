"""``lesion-train evaluate``: how good a bundle is on images that it was neither trained nor tuned on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lesion_core.logs import configure_logging
from lesion_train.options import AtLeastOne, OutputFile, Switch
from lesion_train.threads import ALL_CORES, prepare_threads


def evaluate(
    bundle: Path,
    *,
    data: Path,
    split: Path | None = None,
    part: str | None = None,
    ood: Path | None = None,
    out: Path = Path("evaluation"),
    corruptions: Switch = False,
    no_thumbnails: Switch = False,
    isic_csv: OutputFile | None = None,
    resamples: AtLeastOne = 1000,
    threads: AtLeastOne = ALL_CORES,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    log_json: Switch = False,
) -> None:
    """Measure a bundle and write a report: report.html, and its numbers as evaluation.json.

    Example: lesion-train evaluate .lesion/runs/RUN/bundle --data ISIC_2019 --ood strange --out evaluation

    Without --split, the split of the bundle's own run is taken where it is for this data: its part 'test', or else
    'validation', which set the decision parameters, as the report then says. Other data is foreign: all its images are
    taken, but for those that the run's split knows; a bundle that was fetched has none beside it, and --split with the
    split.csv of its run serves. Nothing is measured on images that were trained on, as far as is known.

    Parameters
    ----------
    bundle
        Folder of the bundle.
    data
        The data set, in any layout that is known.
    split
        Frozen split, as 'lesion-train data split' and every run write one.
    part
        Part of the split: train, validation, test, fold-1 …
    ood
        Folder whose folders hold images that are none of the diagnoses; each folder is one group.
    out
        Folder for the report; one that holds an evaluation is refused.
    corruptions
        Also measure on corrupted images: 15 corruptions at 5 severities, which takes 75 times as long.
    no_thumbnails
        Leave images of patients out of the report.
    isic_csv
        Also write the probabilities as the ISIC 2019 challenge wants them: image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK.
    resamples
        Of the bootstrap that makes the intervals.
    threads
        That decode and calculate; one for each core that this program may use if not given.
    device
        auto, cpu or cuda.
    log_json
        Log as JSON lines, for machines.
    """
    prepare_threads(threads)
    from lesion_core.bundle import load_bundle
    from lesion_core.datasets import require_folder

    loaded = load_bundle(bundle)
    require_folder(data)
    from lesion_train.evaluation.run import EvaluationOptions, evaluate_bundle
    from lesion_train.evaluation.submission import images_without_row
    from lesion_train.evaluation.summary import describe
    from lesion_train.evaluation.values import NUMBERS, REPORT

    configure_logging(as_json=log_json)
    options = EvaluationOptions(
        split=split,
        part=part,
        ood=ood,
        corruptions=corruptions,
        with_thumbnails=not no_thumbnails,
        isic_csv=isic_csv,
        resamples=resamples,
        threads=threads,
        device=device,
    )
    evaluation = evaluate_bundle(loaded, data, out, options, on_note=lambda note: print(f"Note: {note}"))
    print(describe(evaluation))
    print(f"Report: {out / REPORT}" + ("" if no_thumbnails else "  (it contains images of patients)"))
    print(f"Numbers: {out / NUMBERS}")
    if isic_csv is not None:
        print(f"Challenge file: {isic_csv}")
        if missing := images_without_row(evaluation.data):
            print(f"  ! {missing}")
