"""The single steps of the demo that ask or run something once."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from pathlib import Path

from lesion_core.datasets import read_dataset
from lesion_core.errors import LesionError
from lesion_core.processes import ChildProcess
from lesion_core.wire import Prediction, Problem, from_json
from lesion_core.workspace import Endpoint

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy


def run_step(module: str, *arguments: str) -> None:
    """Run one door to its end, with its output on ours.

    Raises:
        LesionError: ``step_failed``; the door has said why.
    """
    step = ChildProcess.start(module, [sys.executable, "-m", module, *arguments])
    try:
        code = step.wait()
    finally:
        step.stop()
    if code != 0:
        raise LesionError(f"'{module} {arguments[0]}' failed with exit code {code}; see above.", code="step_failed")


def answers(url: str) -> bool:
    """Does this address answer 200?"""
    with _direct.open(url, timeout=2) as answer:
        return bool(answer.status == 200)


def choose_image(folder: Path, named: Path | None) -> tuple[Path, str]:
    """The image to ask about, and its label where it is known.

    The one that is named; else the first of a folder ``fullsize`` beside the data, where there are originals to the
    small images; else the first of the data.
    """
    labels = {record.path.stem: record.diagnosis for record in read_dataset(folder).records}
    originals = sorted((folder.resolve().parent / "fullsize").glob("*.jpg"))
    path = named or next(iter(originals), None) or read_dataset(folder).records[0].path
    return path, labels.get(path.stem, "unknown")


def predict_one(path: Path, label: str, endpoint_file: Path) -> str:
    """Ask the server about one image; returns the answer as lines for a terminal.

    Raises:
        LesionError: there was no answer, or it was a refusal.
    """
    endpoint = Endpoint.load(endpoint_file)
    request = urllib.request.Request(
        endpoint.url,
        data=path.read_bytes(),
        headers={"Authorization": f"Bearer {endpoint.token}", "Content-Type": "application/octet-stream"},
    )
    try:
        with _direct.open(request, timeout=60) as answer:
            prediction = from_json(answer.read(), Prediction)
    except urllib.error.HTTPError as error:
        problem = from_json(error.read(), Problem)
        raise LesionError(f"{path.name} was refused: {problem.message}", code=problem.code) from error
    return describe(path.name, label, prediction)


def describe(name: str, truth: str, prediction: Prediction) -> str:
    """A prediction as a small table, most probable first."""
    ordered = sorted(prediction.probabilities, key=lambda item: -item.probability)
    rows = [f"  {item.probability:7.2%}  {item.code:4}  {item.name}" for item in ordered]
    model = prediction.model
    return "\n".join(
        [
            f"Prediction for {name} (labelled {truth}) by {model.name} version {model.version}, {model.backbone}:",
            *rows,
            f"  {prediction.notice}",
        ]
    )
