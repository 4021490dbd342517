"""The door of training: ``lesion-train``, or ``./pants run src/python/lesion_train:train -- …``."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from lesion_core.address import without_password
from lesion_core.errors import LesionError
from lesion_core.logs import configure_logging
from lesion_core.program import run_program
from lesion_core.workspace import MLFLOW_PORT, REGISTERED_NAME, Workspace
from lesion_train import __version__
from lesion_train.backbones_cli import backbones
from lesion_train.backup_cli import backups
from lesion_train.config_cli import ConfigFile, Options, prepare_training, resolve_options, resolve_resumed
from lesion_train.config_cli import config as config_commands
from lesion_train.data_cli import data
from lesion_train.evaluate_cli import evaluate
from lesion_train.export_cli import export
from lesion_train.options import AtLeastOne, NotNegative, Switch
from lesion_train.promotion_cli import REFUSED_EXIT_CODE, promotion
from lesion_train.studies_cli import studies
from lesion_train.weights_cli import weights

app = App(
    name="lesion-train",
    help=(
        "Train, measure and register skin lesion classifiers. Research use only.\n\n"
        "Start with 'lesion-train synthetic DIR' for drawn images, then 'lesion-train fit --data DIR'."
    ),
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
app.command(backbones)
app.command(config_commands)
app.command(data)
app.command(evaluate)
app.command(export)
app.command(weights)
app.command(promotion, name="*")
app.command(backups, name="*")
app.command(studies, name="*")


@app.command
def fit(
    options: Options = None,
    *,
    config: ConfigFile = None,
    resume: Path | None = None,
    cache: Path | None = None,
    tracking_uri: str | None = None,
    log_json: Switch = False,
) -> None:
    """Fine-tune a backbone on a folder of images and register the result.

    Example: lesion-train fit --config configs/efficientnet_lite0.toml --data ISIC_2019 --epochs 20

    The run is recorded in .lesion/runs (LESION_HOME changes .lesion), mirrored to MLflow, and its bundle becomes the
    newest version of model 'skin-lesion' with alias 'challenger', and 'champion' if it is the first.

    On several GPUs or hosts: torchrun --nproc-per-node N -m lesion_train fit …; the batch is shared by all processes.

    Parameters
    ----------
    resume
        Folder of a run that was interrupted, to go on with: same settings and data, and the same weights at the end as
        if it had not been. Its own settings are taken where no --config is given; once it has a checkpoint, it does not
        need the file of --pretrained any more.
    cache
        Folder of decoded images, for all runs on the same data; in .lesion by default.
    tracking_uri
        MLflow server or database; the local database in .lesion by default, which 'lesion-train mlflow' shows.
    log_json
        Log as JSON lines, for machines.
    """
    from lesion_train.record import RunRecord

    record = None if resume is None else RunRecord.open(resume)
    if record is not None and record.parent is not None:
        raise LesionError(
            f"{record.folder.name} is a run of the study {record.parent.folder.name}, which goes on with it itself: "
            "lesion-train cross-validate --data DIR --resume STUDY, or the command of the search once more.",
            code="run_of_study",
        )
    found = resolve_options(config, options) if record is None else resolve_resumed(record, config, options)
    settings = found.config()
    prepare_training(settings)
    from lesion_train.evaluation.headline import summary
    from lesion_train.evaluation.values import REPORT
    from lesion_train.fit import fit as run_fit

    configure_logging(as_json=log_json)
    result = run_fit(settings, Workspace.default(), tracking_uri=tracking_uri, resume=record, cache=cache)
    print(summary(result.metrics, "val", "Validation part (split by lesion; it also set the temperature)"))
    if "test_bma" in result.metrics:
        print(summary(result.metrics, "test", "Test part (nothing was fitted on it)"))
    print(f"Bundle: {result.bundle.folder}\n  digest {result.bundle.digest}\nReport: {result.record.report / REPORT}")
    again = ["lesion-train", "evaluate", str(result.bundle.folder), "--data", str(settings.data), "--corruptions"]
    print(f"On worse photographs and, with --ood DIR, on strange images: {shlex.join(again)}")
    if result.registered is None:
        print(f"Not registered. Once MLflow answers: lesion-train register {shlex.quote(str(result.record.folder))}")
        sys.exit(3)
    aliases = " and ".join(result.registered.aliases)
    print(f"Registered: models:/{result.registered.name}/{result.registered.version} as {aliases}")


@app.command
def register(run: Path, *, name: str = REGISTERED_NAME, tracking_uri: str | None = None) -> None:
    """Send a recorded run to MLflow and register its bundle; safe to repeat.

    Example: lesion-train register .lesion/runs/20260102-101500-efficientnet_lite0

    Parameters
    ----------
    run
        Folder of the run, as 'lesion-train fit' printed it.
    name
        Name of the registered model.
    tracking_uri
        MLflow server or database; the local database by default.
    """
    from lesion_train.record import RunRecord

    record = RunRecord.open(run)
    from lesion_train.tracking import Mirror
    from lesion_train.tracking import register as register_run

    workspace = Workspace.default()
    made = register_run(Mirror(record, tracking_uri or workspace.mlflow_database, workspace), name)
    given = f" as {' and '.join(made.aliases)}" if made.aliases else " (it was registered before)"
    print(f"Registered: models:/{made.name}/{made.version}{given}")


@app.command
def sync(
    *runs: Path,
    all_runs: Annotated[bool, Parameter(name="--all", negative="")] = False,
    tracking_uri: str | None = None,
) -> None:
    """Send to MLflow what it does not have of recorded runs; safe to repeat, sends nothing twice.

    Example: lesion-train sync --all

    Parameters
    ----------
    runs
        Folders of runs, as 'lesion-train fit' printed them.
    all_runs
        All runs of the workspace.
    tracking_uri
        MLflow server or database; the local database by default.
    """
    from lesion_train.record import RunRecord

    workspace = Workspace.default()
    folders = sorted(path.parent for path in workspace.runs.glob("*/run.json")) if all_runs else list(runs)
    if not folders:
        raise LesionError("No run to send: name folders of runs, or give --all for those in .lesion/runs.")
    records = [RunRecord.open(folder) for folder in folders]
    from lesion_train.tracking import Mirror

    failed = []
    for record in records:
        try:
            _, sent = Mirror(record, tracking_uri or workspace.mlflow_database, workspace).sync()
            print(f"{record.folder.name}: {sent}")
        except LesionError as error:  # also where a record is damaged: the others are sent all the same
            failed.append(record.folder.name)
            print(f"{record.folder.name}: not sent. {error}", file=sys.stderr)
    if failed:
        raise LesionError(f"{len(failed)} of {len(records)} runs were not sent: {', '.join(failed)}.")


@app.command
def mlflow(*, port: int = MLFLOW_PORT, backend_store_uri: str | None = None, artifact_root: str | None = None) -> None:
    """Start the MLflow server, at http://127.0.0.1:PORT; stays up until Ctrl-C.

    Parameters
    ----------
    port
        TCP port on loopback.
    backend_store_uri
        Database: sqlite:///FILE or postgresql+pg8000://USER:PASSWORD@HOST/NAME; the local one in .lesion by default.
        MLFLOW_BACKEND_STORE_URI in the environment does the same and keeps the password off the command line.
    artifact_root
        Folder of bundles and plots; in .lesion by default. Trainers write there themselves.
    """
    from lesion_train.mlflow_server import start_mlflow

    backend_store_uri = backend_store_uri or os.environ.get("MLFLOW_BACKEND_STORE_URI")
    server = start_mlflow(Workspace.default(), port, backend_store_uri=backend_store_uri, artifact_root=artifact_root)
    print(f"MLflow: http://127.0.0.1:{port}  (Ctrl-C stops it)", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        code, tail = server.wait(), without_password(server.log_tail())
        raise LesionError(
            f"The MLflow server ended with exit code {code}. The end of {server.log_path}:\n{tail}", code="server_ended"
        )
    except KeyboardInterrupt:
        print("Stopping MLflow.")
    finally:
        server.stop()


@app.command
def synthetic(folder: Path, *, images_per_class: AtLeastOne = 30, seed: NotNegative = 0) -> None:
    """Write drawn, dermoscopy-like images in the ISIC 2019 layout, for a first try without data.

    A score on them says that the software works, nothing about skin.

    Parameters
    ----------
    folder
        Where to write; made where it is missing.
    images_per_class
        Images of each of the 8 classes, two a lesion.
    seed
        Equal seeds give equal images.
    """
    from lesion_core.datasets.synthetic import write_synthetic_dataset

    write_synthetic_dataset(folder, images_per_class=images_per_class, seed=seed)
    following = shlex.join(["lesion-train", "fit", "--data", str(folder)])
    print(f"Wrote {8 * images_per_class} SYNTHETIC images to {folder}. Next: {following}")


def main() -> None:
    """Run the command line; a named error is one sentence and exit code 2, a refused promotion 4."""
    run_program("lesion-train", app, exit_codes={"promotion_refused": REFUSED_EXIT_CODE})


if __name__ == "__main__":
    main()
