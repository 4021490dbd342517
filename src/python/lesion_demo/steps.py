"""The single steps of the demo that ask or run something once."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from lesion_core.datasets import read_dataset
from lesion_core.errors import LesionError
from lesion_core.frozen_split import read_parts
from lesion_core.processes import ChildProcess
from lesion_core.splits import TEST, VALIDATION
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


def written_ns(path: Path) -> int | None:
    """When a file was written; ``None`` where there is none."""
    return path.stat().st_mtime_ns if path.is_file() else None


def choose_image(folder: Path, split: Path) -> tuple[Path, str]:
    """An image to ask about that nothing was fitted on, and what is known of it.

    One of the test part, or where there is none of the validation part: the original, in a folder ``fullsize`` beside
    the data, of the first that has one; else the first.

    Args:
        folder: the data.
        split: CSV file of the run's parts.
    """
    part, dataset = read_parts(split), read_dataset(folder)
    name = TEST if TEST in part.values() else VALIDATION
    held_out = [record for record in (*dataset.records, *dataset.test) if part.get(record.isic_id) == name]
    originals = folder.resolve().parent / "fullsize"
    for record in held_out:
        if (original := originals / f"{record.isic_id}.jpg").is_file():
            return original, f"labelled {record.diagnosis}, held out"
    return held_out[0].path, f"labelled {held_out[0].diagnosis}, held out"


def predict_one(path: Path, known: str, endpoint_file: Path) -> str:
    """Ask the server about one image; returns the answer as lines for a terminal.

    Raises:
        LesionError: ``no_answer``, or the code of a refusal.
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
    except (OSError, HTTPException) as error:
        raise LesionError(
            f"{endpoint.url}, which {endpoint_file} names, did not answer ({error}). Is the server up? See its log.",
            code="no_answer",
        ) from error
    return describe(path.name, known, prediction)


def describe(name: str, known: str, prediction: Prediction) -> str:
    """A prediction as a small table, most probable first."""
    ordered = sorted(prediction.probabilities, key=lambda item: -item.probability)
    rows = [f"  {item.probability:7.2%}  {item.code:4}  {item.name}" for item in ordered]
    model = prediction.model
    return "\n".join(
        [
            f"Prediction for {name} ({known}) by {model.name} version {model.version}, {model.backbone}:",
            *rows,
            f"  {prediction.notice}",
        ]
    )
