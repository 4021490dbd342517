"""The door of serving: ``lesion-serve``, or ``./pants run src/python/lesion_serve:serve -- …``."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.types import ExistingFile
from cyclopts.validators import Number

from lesion_core.errors import LesionError
from lesion_core.logs import configure_logging
from lesion_core.workspace import SERVE_PORT, SERVING_NAME, Endpoint, Workspace
from lesion_serve import __version__

if TYPE_CHECKING:
    from lesion_serve.archive import ArchiveInfo

CHAMPION = "models:/skin-lesion@champion"

Port = Annotated[int, Parameter(validator=Number(gte=1, lte=65535))]
Positive = Annotated[int, Parameter(validator=Number(gte=1))]

app = App(
    name="lesion-serve",
    help=(
        "Pack, serve and ask skin lesion classifiers. Research use only.\n\n"
        "Start with 'lesion-serve start': it serves the registered champion at http://127.0.0.1:8080."
    ),
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)


@app.command
def archive(
    source: str = CHAMPION,
    *,
    out: Path | None = None,
    serving_name: str = SERVING_NAME,
    tracking_uri: str | None = None,
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
    """
    workspace = Workspace.default()
    path = out or workspace.serving / f"{serving_name}.mar"
    _print_archive(_pack(source, path, serving_name, tracking_uri, workspace))


@app.command
def start(
    source: str = CHAMPION,
    *,
    port: Port = SERVE_PORT,
    workers: Positive = 1,
    serving_name: str = SERVING_NAME,
    management_port: Port | None = None,
    metrics_port: Port | None = None,
    tracking_uri: str | None = None,
    java: Path | None = None,
) -> None:
    """Serve a model with TorchServe on loopback; stays up until Ctrl-C.

    Example: lesion-serve start models:/skin-lesion@champion --port 8080

    Parameters
    ----------
    source
        A .mar file, a bundle's folder, models:/NAME@ALIAS or models:/NAME/VERSION.
    port
        Of the prediction address.
    workers
        Processes that answer, one thread each; as many as there are cores is best.
    serving_name
        Last part of the address: /predictions/SERVING_NAME. An archive keeps the name that it was packed with.
    management_port
        Of TorchServe's management address, on loopback; a free one by default.
    metrics_port
        Of its metrics address, on loopback; a free one by default.
    tracking_uri
        MLflow server or database; the local database in .lesion by default.
    java
        A Java runtime from version 11 on; by default JAVA_HOME's, the system's, or the one that comes along.
    """
    from lesion_serve.engine.torchserve import TorchServeEngine, TorchServeSettings

    configure_logging()
    workspace = Workspace.default()
    path = Path(source)
    if path.suffix != ".mar":
        path = workspace.serving / f"{serving_name}-{port}.mar"
        _pack(source, path, serving_name, tracking_uri, workspace)
    settings = TorchServeSettings(
        port=port, workers=workers, management_port=management_port, metrics_port=metrics_port, java=java
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("Starting TorchServe…", flush=True)
    engine = TorchServeEngine.start(path, settings, serving=workspace.serving)
    try:
        engine.endpoint.save(workspace.endpoint)
        print(
            f"Serving: {engine.endpoint.url}  (Ctrl-C stops it)\n"
            f'  curl -H "Authorization: Bearer $(jq -r .token {workspace.endpoint})" '
            f'-H "Content-Type: image/jpeg" \\\n       --data-binary @image.jpg {engine.endpoint.url}',
            flush=True,
        )
        while (code := engine.process.exit_code) is None:
            time.sleep(0.5)
        raise LesionError(f"TorchServe ended with exit code {code}. Its log:\n{engine.process.log_tail()}")
    except KeyboardInterrupt:
        print("Stopping TorchServe.")
    finally:
        _forget(workspace, engine.endpoint)
        engine.stop()


@app.command
def predict(
    image: ExistingFile, /, *more: ExistingFile, as_json: Annotated[bool, Parameter(name="--json")] = False
) -> None:
    """Ask the running server about images. One that is refused is named, and the others are still answered.

    Example: lesion-serve predict image.jpg

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
    from lesion_serve.ask import ask

    endpoint = Endpoint.load(Workspace.default().endpoint)
    refused = 0
    for path in (image, *more):
        try:
            prediction = ask(endpoint, path.read_bytes())
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
def inspect(archive: Path) -> None:
    """Show what an archive holds.

    Parameters
    ----------
    archive
        A .mar file.
    """
    from lesion_serve.archive import read_archive

    info = read_archive(archive)
    _print_archive(info)
    for name in info.files:
        print(f"  {name}")


def _pack(source: str, out: Path, serving_name: str, tracking_uri: str | None, workspace: Workspace) -> ArchiveInfo:
    from lesion_serve.archive import build_archive

    folder, version = Path(source), "unregistered"
    if source.startswith("models:"):
        from lesion_serve.registry import fetch_bundle

        bundle, version = fetch_bundle(
            source, tracking_uri=tracking_uri or workspace.mlflow_database, into=workspace.serving / "bundles"
        )
        folder = bundle.folder
    return build_archive(folder, out, version=version, serving_name=serving_name)


def _forget(workspace: Workspace, endpoint: Endpoint) -> None:
    """Remove the description of a server that stops, but not the one of another that was started after it."""
    with contextlib.suppress(LesionError):
        if Endpoint.load(workspace.endpoint) == endpoint:
            workspace.endpoint.unlink(missing_ok=True)


def _print_archive(info: ArchiveInfo) -> None:
    print(
        f"{info.path}: {info.model_name} version {info.version}, served as {info.serving_name}\n"
        f"  sha256 {info.sha256}\n  bundle {info.bundle_digest}\n"
        f"  backbone {info.backbone.name} of {info.backbone.plugin} {info.backbone.plugin_version}"
    )


def main() -> None:
    """Run the command line; a named error is one sentence and exit code 2."""
    try:
        app()
    except (LesionError, OSError) as error:
        print(f"lesion-serve: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("lesion-serve: stopped.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
