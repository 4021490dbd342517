"""``lesion-serve predict``: answers for many images, without a server, in one table."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import App
from cyclopts.types import ExistingFile, ExistingPath

from lesion_core.logs import configure_logging
from lesion_core.workspace import Workspace
from lesion_serve import __version__
from lesion_serve.options import CHAMPION, AsJson, AtLeastOne, Switch

if TYPE_CHECKING:
    from lesion_core.bundle import Bundle
    from lesion_serve.batch.answering import Model
    from lesion_serve.batch.run import Summary


def register(app: App) -> None:
    """Add the command to the program."""
    app.command(predict)


def predict(
    path: ExistingPath,
    /,
    *more: ExistingPath,
    out: Path | None = None,
    model: str = CHAMPION,
    layout: Literal["full", "isic"] = "full",
    metadata: ExistingFile | None = None,
    workers: AtLeastOne | None = None,
    ray: Switch = False,
    ray_address: str | None = None,
    overwrite: Switch = False,
    tracking_uri: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Answer for many images at once, without a server, into one table. A run that was stopped goes on when repeated.

    Example: lesion-serve predict images --out predictions.csv

    Ends with exit code 0 where every image was answered, 1 where some have an error, each in its row.

    Parameters
    ----------
    path
        An image file, or a folder: then all images in it and below, in sorted order.
    more
        More of them.
    out
        The table: a .csv or .parquet file. Until it is finished, OUT.unfinished beside it holds what was answered.
    model
        A .mar file, a bundle's folder, models:/NAME@ALIAS or models:/NAME/VERSION.
    layout
        full: a row for each image, with all that is said of it, or with its error. isic: the submission file of ISIC
        2019 (image, MEL, NV, BCC, AK, BKL, DF, VASC, SCC, UNK); errors are listed in OUT with .errors in its name.
    metadata
        A CSV file with image (a file's name without its ending), age_approx, sex and anatom_site_general, as ISIC 2019
        has it.
    workers
        Processes that answer, one thread each; by default as many as there are cores, or CPUs in the Ray cluster.
    ray
        Answer with Ray Data, in a cluster that is started here and ends with the run. Needs lesion-serve[ray].
    ray_address
        Of a Ray cluster that exists, HOST:PORT; the paths have to lead to the images on each of its hosts.
    overwrite
        Replace OUT where it exists, and forget an unfinished run.
    tracking_uri
        MLflow server or database; the local database in .lesion by default.
    as_json
        Print what was done as JSON.
    """
    from lesion_serve.batch.errors import BatchError
    from lesion_serve.batch.listing import Listing
    from lesion_serve.batch.pool import WorkerPool
    from lesion_serve.batch.progress import shown_progress
    from lesion_serve.batch.run import Batch, run_batch
    from lesion_serve.batch.settings import BatchSettings

    if out is None:
        raise BatchError(
            "Name the table that shall be written: --out predictions.csv, or .parquet. To ask the running server about "
            "an image instead: lesion-serve ask IMAGE",
            code="bad_output",
        )
    configure_logging()
    paths = (path, *more)
    bundle, answering_model = _find_model(model, layout, tracking_uri)
    settings = BatchSettings(
        bundle=answering_model.identity.bundle_digest,
        version=answering_model.identity.version,
        layout=layout,
        paths="\n".join(os.fsencode(os.path.abspath(path)).decode(errors="backslashreplace") for path in paths),
        metadata=_digest(metadata) if metadata else "",
        program=__version__,
    )
    batch = Batch(
        out=out,
        model=answering_model,
        settings=settings,
        listing=Listing(paths=paths, metadata=metadata, needs_names=layout == "isic"),
        overwrite=overwrite,
    )
    cores = len(os.sched_getaffinity(0))
    if ray or ray_address is not None:
        from lesion_serve.batch.on_ray import answering_on_ray
        from lesion_serve.ray_cluster import import_ray

        import_ray()
        answering = answering_on_ray(bundle, answering_model, address=ray_address, workers=workers, cpus=cores)
    else:
        answering = WorkerPool(answering_model, workers=workers or cores).answers
    try:
        summary = run_batch(batch, answering, shown_progress)
    except KeyboardInterrupt:
        repeat = "Repeat the command without --overwrite" if overwrite else "Repeat the command"
        raise KeyboardInterrupt(f"{repeat} to go on with what is not answered yet.") from None
    _print_summary(summary, answering_model, as_json=as_json)
    if summary.errors:
        sys.exit(1)


def _find_model(source: str, layout: Literal["full", "isic"], tracking_uri: str | None) -> tuple[Bundle, Model]:
    """Find the bundle, and check that the layout fits it, before anything is begun."""
    from lesion_core.wire import ModelIdentity
    from lesion_serve.batch.answering import Model
    from lesion_serve.batch.layouts import layout_of
    from lesion_serve.source import find_bundle

    bundle, version = find_bundle(source, workspace=Workspace.default(), tracking_uri=tracking_uri)
    manifest = bundle.manifest
    layout_of(layout, manifest.taxonomy.codes)
    identity = ModelIdentity(
        name=manifest.name, version=version, backbone=manifest.backbone.name, bundle_digest=bundle.digest
    )
    folder = str(bundle.folder.resolve())
    return bundle, Model(folder=folder, identity=identity, codes=manifest.taxonomy.codes, layout=layout)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _print_summary(summary: Summary, model: Model, *, as_json: bool) -> None:
    errors = sum(summary.errors.values())
    if as_json:
        facts = {
            "out": str(summary.out),
            "images": summary.images,
            "answered": summary.images - errors,
            "errors": summary.errors,
            "from_earlier_runs": summary.before,
            "seconds": round(summary.seconds, 1),
            "model": {"name": model.identity.name, "version": model.identity.version},
            "bundle_digest": model.identity.bundle_digest,
        }
        print(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    print(
        f"{summary.out}: {summary.images - errors:,} of {summary.images:,} images answered by {model.identity.name} "
        f"version {model.identity.version} in {summary.seconds:.0f} s"
    )
    for code, count in summary.errors.items():
        print(f"  {count:,} with the error {code}")
    print("  Research use only. Not a medical device; not a diagnosis.")
