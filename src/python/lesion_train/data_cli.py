"""The commands of ``lesion-train data``: look at a data set, split it, download one."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from lesion_core.errors import LesionError
from lesion_core.logs import configure_logging
from lesion_train.options import AtLeastOne, NotNegative, OutputFile, Seed, Switch
from lesion_train.threads import ALL_CORES

data = App(name="data", help="Look at data sets, split them, and download from the ISIC Archive.")


@data.command
def check(
    folder: Path,
    *,
    taxonomy: Path | None = None,
    split: Path | None = None,
    report: OutputFile | None = None,
    duplicates: OutputFile | None = None,
    backbone: str | None = None,
    min_cosine: float | None = None,
    threads: AtLeastOne = ALL_CORES,
) -> None:
    """Read a data set, decode every image, and list all problems and duplicates.

    Example: lesion-train data check ISIC_2019 --report problems.txt

    Ends with exit code 2 where there are problems: missing files, unknown labels, ids that stand twice, ages out of
    range, images that cannot be decoded, parts that share a lesion. Duplicates are shown, and no problem; so are images
    that no table lists, and what else is in the folder and not in the data set, as notes.

    Parameters
    ----------
    folder
        The data set, in any layout that is known.
    taxonomy
        TOML file with diagnoses of your own, for class folders; those of ISIC 2019 where not given.
    split
        Frozen split whose parts to compare; otherwise the data set's own training and test part.
    report
        File for all problems, one a line; the terminal shows the first 20.
    duplicates
        CSV file for all pairs of duplicates.
    backbone
        Also compare by the embeddings of this pretrained backbone; takes some milliseconds an image.
    min_cosine
        Embeddings at least so similar are duplicates; 0.97 for efficientnet_lite0, to be given for others.
    threads
        Images that are decoded at a time; one for each core that this program may use if not given.
    """
    from lesion_core.taxonomy_file import read_taxonomy
    from lesion_train import data_report

    configure_logging()
    threshold = data_report.cosine_threshold(backbone, min_cosine)
    own = read_taxonomy(taxonomy) if taxonomy else None
    found = data_report.check_data(folder, threads=threads, taxonomy=own, split=split)
    print(data_report.describe_data(found))
    if report is not None:
        report.write_text("".join(f"{problem}\n" for problem in found.problems), encoding="utf-8")
        print(f"All {len(found.problems)} problems: {report}")
    if found.problems:
        print("Duplicates are looked for once there is no problem any more.")
    found.require()
    pairs = data_report.find_duplicates(
        found,
        backbone=backbone,
        min_cosine=threshold,
        threads=threads,
    )
    print(data_report.describe_duplicates(pairs))
    if duplicates is not None:
        data_report.write_duplicates(pairs, duplicates)
        print(f"All {len(pairs)} pairs: {duplicates}")
    print("No problems.")


@data.command(name="split")
def freeze(
    folder: Path,
    *,
    out: OutputFile,
    taxonomy: Path | None = None,
    folds: int | None = None,
    validation_fraction: float = 0.15,
    test_fraction: float | None = None,
    keep: Path | None = None,
    seed: Seed = 0,
) -> None:
    """Freeze a split by lesion and patient to a file, for 'lesion-train fit --split FILE'.

    Example: lesion-train data split ISIC_2019 --out five.csv --folds 5

    Parameters
    ----------
    folder
        The data set.
    out
        CSV file to write; an existing one is not overwritten.
    taxonomy
        TOML file with diagnoses of your own, for class folders; those of ISIC 2019 where not given.
    folds
        Split into so many folds, for 'fit --split FILE --fold K'; otherwise into training and validation part.
    validation_fraction
        Share of the lesions held out for validation, without folds.
    test_fraction
        Share held out for one measurement at the end; 0.15 where not given, or none with folds. A data set's own test
        part is taken where it has one.
    keep
        Frozen split with a training and a validation part: images, lesions and patients that it knows stay where it has
        them, the others are split; classes with too few new lesions for that are trained on. For a data set that has
        grown, or that shares images with another.
    seed
        Chooses among equally good splits.
    """
    from lesion_core.datasets import read_dataset
    from lesion_core.frozen_split import write_parts
    from lesion_core.taxonomy_file import read_taxonomy
    from lesion_train.parts import parts_to_freeze

    if out.exists():
        raise LesionError(f"{out} exists. A frozen split is kept: choose another name, or remove it first.")
    dataset = read_dataset(folder, read_taxonomy(taxonomy) if taxonomy else None)
    for note in dataset.notes:
        print(f"Note: {note}")
    parts = parts_to_freeze(
        dataset,
        folds=folds,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        keep=keep,
        seed=seed,
    )
    digest = write_parts(parts, out)
    print(f"{out}: {', '.join(f'{name} {len(records):,}' for name, records in parts.items())}\n  digest {digest}")


@data.command
def download(
    *,
    out: Path,
    search: str = "",
    collection: list[int] | None = None,
    licence: str = "",
    limit: NotNegative = 0,
    metadata_only: Switch = False,
) -> None:
    """Download from the ISIC Archive through its official program 'isic', and say what came.

    Example: lesion-train data download --out nevi --search diagnosis_3:Nevus --licence CC-0,CC-BY --limit 100

    Safe to repeat: files that are there are not fetched again.

    Parameters
    ----------
    out
        Folder to write; 'lesion-train data check' and 'fit' read it.
    search
        Query in the archive's language, e.g. 'image_type:dermoscopic AND age_approx:[20 TO 40]'.
    collection
        Number of a collection; may be given several times. 'isic collection list' lists them.
    licence
        Only images under these licences, with commas: CC-0, CC-BY, CC-BY-NC. All where not given.
    limit
        At most so many images; 0 for all.
    metadata_only
        No images, to see what there is.
    """
    from lesion_core.datasets import isic_archive

    query = isic_archive.ArchiveQuery(
        search=search,
        collections=tuple(collection or ()),
        licences=tuple(name.strip() for name in licence.split(",") if name.strip()),
        limit=limit,
    )
    isic_archive.download(query, out, metadata_only=metadata_only)
    for name, count in isic_archive.licence_counts(out).items():
        print(f"  {name:10} {count:7,} images")
    if metadata_only:
        return
    dataset = isic_archive.read_isic_archive(out, query.licences or isic_archive.LICENCES).require()
    left_out = sum(dataset.left_out.values())
    print(f"{len(dataset.records):,} images of the trained classes, {left_out:,} with another diagnosis or none.")
    print(f"Next: lesion-train data check {out}")
