"""What monitoring costs: a report over many predictions, and each request.

    ./pants run benchmarks/monitoring.py -- [PREDICTIONS] [FOLDER]

The report's store is made in a process of its own, so that the memory printed is the report's. A request's cost is what
features add to it: describing the image, the wire both ways, and the row in the same transaction as the record.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import attrs
import numpy as np

from lesion_core.drift_reference import LARGEST_PROJECTION, embedding_to_text, fit_projection
from lesion_core.quality_measures import QualityMeasures
from lesion_core.wire import DescribedPrediction, Features, Prediction, answer_from_json, describe, to_json
from lesion_serve.monitor.page import render_page
from lesion_serve.monitor.report import Wanted, make_report
from lesion_serve.store import FeedbackRecord, PredictionRecord, Verdict
from lesion_serve.store.chain import feedback_entry, prediction_entry
from support.monitored import answer_like, baseline
from support.samples import draw_sample
from support.stored import CLINICIAN, START, make_answer, open_store

KINDS = 500  # different answers; the rest repeats them
REVIEWED = 10  # every so many-th
CALLS = 300


def main(predictions: int, folder: Path) -> None:
    """Print both."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        filling = multiprocessing.get_context("spawn").Process(target=fill, args=(place, predictions))
        filling.start()
        filling.join()
        started, worked = time.perf_counter(), time.process_time()
        with open_store(place) as store:
            report = make_report(store, Wanted(), baseline(1000))
        render_page(report)
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - worked
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    images = max(check.images for check in report.checks)
    print(f"report over {report.predictions} predictions: {seconds:.1f} s, at work {cpu_s:.1f} s, {memory_mb:.0f} MB")
    print(f"  {report.feedback.reviewed} of them reviewed; {len(report.checks)} checks on {images} images")
    request_cost(folder)


def fill(place: Path, predictions: int) -> None:
    """A store with so many answers, each of another patient."""
    sample = draw_sample(KINDS, seed=3)
    answers = [answer_like(sample, row, number=row) for row in range(KINDS)]
    with open_store(place) as store:
        for first in range(0, predictions, 1000):
            with store._appender.writing() as chain:
                for number in range(first, min(first + 1000, predictions)):
                    at = START + timedelta(seconds=20 * number)
                    answer = attrs.evolve(answers[number % KINDS], request_id=f"request-{number}")
                    record = PredictionRecord.of(
                        answer,
                        at=at,
                        principal=CLINICIAN,
                        image_sha256=f"{number:064x}",
                        image_bytes=90_000,
                        subject=f"patient-{number}",
                        timings_ms={"decode": 3.0, "quality": 2.0, "network": 20.0, "decision": 1.0},
                    )
                    chain.add(prediction_entry(record))
                    if number % REVIEWED == 0:
                        said = FeedbackRecord(
                            request_id=answer.request_id, principal=CLINICIAN, verdict=Verdict.AGREE, at=at
                        )
                        chain.add(feedback_entry(said))


def request_cost(folder: Path) -> None:
    """Median milliseconds that features add to a request."""
    random = np.random.default_rng(0)
    projection = fit_projection(random.normal(size=(2000, 1280)), features=LARGEST_PROJECTION)
    embedding, shares = random.normal(size=(1, 1280)), tuple(np.full(9, 1 / 9).tolist())
    measures = QualityMeasures(**dict.fromkeys((field.name for field in attrs.fields(QualityMeasures)), 1))
    plain = make_answer(0)

    def described() -> DescribedPrediction:
        text = embedding_to_text(projection(embedding)[0])
        return describe(plain, Features(embedding_base64=text, probabilities=shares, quality=attrs.asdict(measures)))

    whole = described()
    parts = {
        "describing": median_ms(described),
        "wire": over_the_wire_ms(whole) - over_the_wire_ms(plain),
    }
    with tempfile.TemporaryDirectory(dir=folder) as place, open_store(Path(place)) as store:
        took: dict[bool, list[float]] = {True: [], False: []}
        for number in range(2 * CALLS):  # in turns: the disk has its moods
            has_features = number % 2 == 0
            answer = attrs.evolve(whole if has_features else plain, request_id=f"request-{number}")
            started = time.perf_counter()
            store.append(
                PredictionRecord.of(answer, principal=CLINICIAN, image_sha256=f"{number:064x}", image_bytes=90_000)
            )
            took[has_features].append(1000 * (time.perf_counter() - started))
        parts["record"] = float(np.median(took[True]) - np.median(took[False]))
    print(f"a request: {sum(parts.values()):.2f} ms more: " + ", ".join(f"{n} {ms:.2f}" for n, ms in parts.items()))


def over_the_wire_ms(answer: Prediction) -> float:
    """From the worker's value to the gateway's."""
    return median_ms(lambda: answer_from_json(to_json(answer)))


def median_ms(call: Callable[[], object]) -> float:
    """Of many calls."""
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(int(arguments[0]) if arguments else 100_000, Path(arguments[1]) if len(arguments) > 1 else Path("."))
