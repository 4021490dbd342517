"""The whole main job with one command: data → training → registry → archive → server → app → one prediction.

Each step is the same door that a user opens by hand, started as a process of its own; this module only connects them.
Whatever way this program ends, the processes that it started end too.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from lesion_core.datasets import read_dataset
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.errors import LesionError
from lesion_core.processes import ChildProcess, require_free_port
from lesion_core.program import run_program
from lesion_core.workspace import GATEWAY_PORT, MLFLOW_PORT, SERVE_PORT, UI_PORT, Workspace
from lesion_demo import __version__
from lesion_demo.reference import build_reference
from lesion_demo.steps import answers, choose_image, predict_one, run_step, written_ns

app = App(name="demo", version=__version__, help_format="plaintext", suppress_keyboard_interrupt=False)

OPTIONS = ("--input-size-px", "128")
SYNTHETIC_OPTIONS = ("--epochs", "4", "--input-size-px", "96")


@app.default
def demo(
    *,
    data: Path | None = None,
    image: Path | None = None,
    once: Annotated[bool, Parameter(negative="")] = False,
    mlflow_port: int = MLFLOW_PORT,
    serve_port: int = GATEWAY_PORT,
    torchserve_port: int = SERVE_PORT,
    ui_port: int = UI_PORT,
    home: Path | None = None,
    train_options: Annotated[str, Parameter(allow_leading_hyphen=True)] = "",
) -> None:
    """Run the whole main job: train, register, pack, serve, open the app, predict one image. Research use only.

    Parameters
    ----------
    data
        Real images: a folder in the ISIC 2019 layout, or of class folders. Drawn, SYNTHETIC images by default.
    image
        The image to predict in the end; by default one that was held out of training.
    once
        Exit after the prediction instead of staying up until Ctrl-C.
    mlflow_port
        Port of the MLflow server.
    serve_port
        Port of the gateway, which answers.
    torchserve_port
        Port of TorchServe behind it.
    ui_port
        Port of the app.
    home
        Folder for all that is made: .lesion/demo by default. It can be deleted at any time.
    train_options
        Options for 'lesion-train fit', in one string, for example "--epochs 3 --input-size-px 96", instead of the
        demo's own: --input-size-px 128 for real images, --epochs 4 --input-size-px 96 for drawn ones.
    """
    started = time.monotonic()
    workspace = Workspace(home or Workspace.default().root / "demo")
    for port, purpose, option in (
        (mlflow_port, "MLflow server", "--mlflow-port"),
        (serve_port, "gateway", "--serve-port"),
        (torchserve_port, "TorchServe", "--torchserve-port"),
        (ui_port, "app", "--ui-port"),
    ):
        require_free_port(port, purpose, option)
    workspace.root.mkdir(parents=True, exist_ok=True)
    os.environ["LESION_HOME"] = str(workspace.root)
    folder = data if data is not None else synthetic_data(workspace)
    read_dataset(folder)  # a bad folder is named now, not after the servers are up
    if image is not None and not image.is_file():
        raise LesionError(f"{image} is not a file: give --image the path of an image.")
    options = shlex.split(train_options) or (SYNTHETIC_OPTIONS if data is None else OPTIONS)
    children: list[ChildProcess] = []
    try:
        mlflow = door("MLflow server", "lesion_train", "mlflow", "--port", str(mlflow_port), workspace=workspace)
        children.append(mlflow)
        mlflow_url = f"http://127.0.0.1:{mlflow_port}"
        mlflow.wait_until(lambda: answers(f"{mlflow_url}/health"), timeout_s=180)
        say(started, f"MLflow server is up: {mlflow_url}")
        say(started, f"Training on {'real images' if data else 'SYNTHETIC images'} in {folder}")
        run_step("lesion_train", "fit", "--data", str(folder), "--tracking-uri", mlflow_url, *options)
        archive = workspace.serving / "skin_vit.mar"
        archive.parent.mkdir(parents=True, exist_ok=True)
        source = "models:/skin-lesion@challenger"
        say(started, f"Packing {source}")
        run_step("lesion_serve", "archive", source, "--out", str(archive), "--tracking-uri", mlflow_url)
        ports = ("--port", str(serve_port), "--torchserve-port", str(torchserve_port))
        left_behind = written_ns(workspace.endpoint)  # by a gateway that was killed
        server = door("gateway", "lesion_serve", "start", str(archive), *ports, workspace=workspace)
        children.append(server)
        server.wait_until(lambda: written_ns(workspace.endpoint) not in (None, left_behind), timeout_s=180)
        say(
            started,
            f"Gateway is up: http://127.0.0.1:{serve_port}/v1/predictions, before TorchServe on port {torchserve_port}",
        )
        page = door("app", "lesion_ui", "--port", str(ui_port), workspace=workspace)
        children.append(page)
        page.wait_until(lambda: answers(f"http://127.0.0.1:{ui_port}/_stcore/health"), timeout_s=120)
        say(started, f"App is up: http://127.0.0.1:{ui_port}")
        asked, known = (image, "your image") if image else choose_image(folder, newest_run(workspace) / "split.csv")
        print(predict_one(asked, known, workspace.endpoint), flush=True)
        say(started, "Done.")
        print(
            f"\n  App         http://127.0.0.1:{ui_port}\n  MLflow      {mlflow_url}\n"
            f"  Gateway     http://127.0.0.1:{serve_port}/v1/predictions\n"
            f"  TorchServe  http://127.0.0.1:{torchserve_port}/predictions/skin_vit\n",
            flush=True,
        )
        if not once:
            print("Everything stays up until Ctrl-C.", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                watch(children)
            print("\nStopping all that was started.", flush=True)
    finally:
        for child in reversed(children):
            child.stop()


@app.command
def reference(out: Path) -> None:
    """Build the reference archive: a small model trained on SYNTHETIC images, packed as every model is.

    Parameters
    ----------
    out
        The .mar file to write.
    """
    build_reference(out)


def synthetic_data(workspace: Workspace) -> Path:
    """Write the demo's drawn images anew; a run that was killed half-way may have left a part."""
    return write_synthetic_dataset(workspace.root / "synthetic-data", images_per_class=40)


def newest_run(workspace: Workspace) -> Path:
    """Folder of the run that was just made; names begin with the time."""
    return max(workspace.runs.iterdir(), key=lambda folder: folder.name)


def door(name: str, module: str, *arguments: str, workspace: Workspace) -> ChildProcess:
    """Start one of the doors in the background; its output goes to a log file."""
    log_path = workspace.root / f"{name.lower().replace(' ', '-')}.log"
    log_path.unlink(missing_ok=True)
    return ChildProcess.start(name, [sys.executable, "-m", module, *arguments], log_path=log_path)


def watch(children: list[ChildProcess]) -> NoReturn:
    """Wait for Ctrl-C.

    Raises:
        LesionError: one of the servers ended by itself; quotes its log.
    """
    while True:
        for child in children:
            if child.exit_code is not None:
                raise LesionError(f"{child.name} ended by itself. The end of its log:\n{child.log_tail()}")
        time.sleep(0.5)


def say(started: float, text: str) -> None:
    """One line of progress, with the seconds since the start."""
    print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True)


def main() -> None:
    """Run the demo; 0 is success, 2 a named error, 130 Ctrl-C before it was done."""
    run_program("demo", app)


if __name__ == "__main__":
    main()
