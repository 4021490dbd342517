"""The door of serving: ``lesion-serve``, or ``./pants run src/python/lesion_serve:serve -- …``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App
from cyclopts.types import ExistingFile

from lesion_core.errors import LesionError
from lesion_core.program import run_program
from lesion_core.workspace import GATEWAY_PORT, SERVE_PORT, SERVING_NAME, Endpoint, Workspace
from lesion_serve import __version__, backup_cli, batch_cli, deployment_cli, start_cli
from lesion_serve.atlas_cli import atlas
from lesion_serve.audit_cli import audit
from lesion_serve.keys_cli import keys
from lesion_serve.monitor_cli import monitor
from lesion_serve.options import CHAMPION, AsJson, Port

if TYPE_CHECKING:
    from lesion_serve.archive import ArchiveInfo

app = App(
    name="lesion-serve",
    help=(
        "Pack, serve and ask skin lesion classifiers. Research use only.\n\n"
        "Start with 'lesion-serve start': it serves the registered champion at http://127.0.0.1:8000."
    ),
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
app.command(atlas)
app.command(audit)
app.command(keys)
app.command(monitor)


@app.command
def archive(
    source: str = CHAMPION,
    *,
    out: Path | None = None,
    serving_name: str = SERVING_NAME,
    tracking_uri: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Pack a bundle as a TorchServe archive; the same bundle gives the same bytes.

    Example: lesion-serve archive models:/skin-lesion@challenger --out challenger.mar

    Parameters
    ----------
    source
        A bundle's folder, models:/NAME@ALIAS or models:/NAME/VERSION.
    out
        The archive; SERVING_NAME.mar in .lesion/serving by default.
    serving_name
        Last part of the address: /predictions/SERVING_NAME.
    tracking_uri
        MLflow server or database; the local database in .lesion by default.
    as_json
        Print as JSON.
    """
    from lesion_serve.deploy import pack

    workspace = Workspace.default()
    packed = pack(
        source,
        out or workspace.serving / f"{serving_name}.mar",
        serving_name=serving_name,
        tracking_uri=tracking_uri or workspace.mlflow_database,
        workspace=workspace,
    )
    _print_archive(packed, as_json=as_json)


@app.command
def ask(image: ExistingFile, /, *more: ExistingFile, as_json: AsJson = False) -> None:
    """Ask the running server about images. One that is refused is named, and the others are still answered.

    Example: lesion-serve ask image.jpg

    Parameters
    ----------
    image
        A JPEG, PNG, TIFF, WebP, BMP or DICOM file.
    more
        More of them.
    as_json
        Print the answers as JSON, one line an image.
    """
    from lesion_core.wire import to_json
    from lesion_serve.ask import ask as ask_server

    endpoint = Endpoint.load(Workspace.default().endpoint)
    refused = 0
    for path in (image, *more):
        try:
            prediction = ask_server(endpoint, path.read_bytes())
        except LesionError as error:
            if error.code == "unreachable":
                raise
            print(f"lesion-serve: {path}: {error}", file=sys.stderr)
            refused += 1
            continue
        if as_json:
            print(to_json(prediction))
            continue
        print(f"{path} by {prediction.model.name} version {prediction.model.version}")
        for item in sorted(prediction.probabilities, key=lambda item: -item.probability):
            print(f"  {item.probability:7.2%}  {item.code:4}  {item.name}")
        for finding in prediction.quality:
            print(f"  image quality ({finding.grade}): {finding.message}")
        print(f"  {prediction.notice}")
    if refused:
        sys.exit(2)


@app.command
def inspect(archive: Path, *, as_json: AsJson = False) -> None:
    """Show what an archive says of itself, and its files; 'verify' examines whether it is so.

    Parameters
    ----------
    archive
        A .mar file.
    as_json
        Print as JSON.
    """
    from lesion_serve.archive import read_archive

    info = read_archive(archive)
    _print_archive(info, as_json=as_json)
    if not as_json:
        for name in info.files:
            print(f"  {name}")


@app.command
def verify(source: Path, *, as_json: AsJson = False) -> None:
    """Examine an archive or a bundle: every file against its digest, and whether its backbone can be built here.

    Ends with exit code 0 where it can be served, 1 where it is not what it says or its backbone is missing, 2 where it
    is neither an archive nor a bundle.

    Parameters
    ----------
    source
        A .mar file, or a bundle's folder.
    as_json
        Print as JSON.
    """
    import attrs

    from lesion_serve.deploy import verify_source

    verified = verify_source(source)
    if as_json:
        print(json.dumps(attrs.asdict(verified), ensure_ascii=False, indent=2))
    elif verified.finding is None:
        print(f"Intact: {source}, version {verified.version}, bundle {verified.bundle_digest}")
    else:
        print(f"NOT INTACT: {verified.finding}")
    if verified.finding is not None:
        sys.exit(1)


@app.command
def doctor(
    *,
    port: Port = GATEWAY_PORT,
    torchserve_port: Port = SERVE_PORT,
    java: Path | None = None,
    store: str | None = None,
    anchors: Path | None = None,
    keys_file: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Examine whether a server works here, or would; each finding with its fix. Nothing is changed.

    Ends with exit code 0 where it would work, 1 where something is a problem.

    Parameters
    ----------
    port
        Of the gateway.
    torchserve_port
        Of TorchServe.
    java
        A Java runtime, as for 'start'.
    store
        Address of the prediction store; predictions.db in .lesion by default.
    anchors
        File of the heads of its chain; beside the database by default.
    keys_file
        API keys; keys.json in .lesion by default.
    as_json
        Print as JSON.
    """
    import attrs

    from lesion_serve.doctor import Examined, Grade, examine

    asked = Examined(
        workspace=Workspace.default(),
        port=port,
        torchserve_port=torchserve_port,
        java=java,
        store_url=store,
        anchors=anchors,
        keys_file=keys_file,
    )
    findings = []
    for finding in examine(asked):
        findings.append(finding)
        if not as_json:
            print(f"{finding.grade:8} {finding.check:10} {finding.message}", flush=True)
            if finding.fix:
                print(f"{'':19} → {finding.fix}", flush=True)
    if as_json:
        print(json.dumps([attrs.asdict(finding) for finding in findings], ensure_ascii=False, indent=2))
    if any(finding.grade is Grade.PROBLEM for finding in findings):
        sys.exit(1)


def _print_archive(info: ArchiveInfo, *, as_json: bool) -> None:
    if as_json:
        import attrs

        print(json.dumps({**attrs.asdict(info), "path": str(info.path)}, ensure_ascii=False, indent=2))
        return
    print(
        f"{info.path}: {info.model_name} version {info.version}, served as {info.serving_name}\n"
        f"  sha256 {info.sha256}\n  bundle {info.bundle_digest}\n"
        f"  backbone {info.backbone.name} of {info.backbone.plugin} {info.backbone.plugin_version}"
    )


start_cli.register(app)
batch_cli.register(app)
deployment_cli.register(app)
backup_cli.register(app)


def main() -> None:
    """Run the command line; a named error is one sentence and exit code 2. 1: a command found what it looked for."""
    run_program("lesion-serve", app)


if __name__ == "__main__":
    main()
