"""A trained network as ONNX, held against the one in torch on the whole validation part."""

# N images · K classes

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import attrs
import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from lesion_core.bundle import OnnxParity
from lesion_core.preprocess import normalise
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.views import views_of
from lesion_plugins.classifier import Classifier
from lesion_plugins.errors import OnnxError
from lesion_plugins.onnx_network import OnnxNetwork, compare_logits, export_onnx
from lesion_train.data import plain_batches, unknown_metadata
from lesion_train.inference import BATCH_SIZE
from lesion_train.squares import Squares

log = structlog.get_logger()

TIMED_RUNS = 20


@attrs.frozen(kw_only=True)
class Exported:
    """A network in ONNX: its bytes, ``None`` where parity does not hold; and milliseconds an image, one at a time."""

    data: bytes | None
    parity: OnnxParity
    torch_ms: float
    onnx_ms: float


def export_checked(
    model: Classifier,
    squares: Squares,
    logits: NDArray[np.floating],
    spec: PreprocessSpec,
    *,
    told: tuple[NDArray[np.float32], NDArray[np.floating]] | None = None,
) -> Exported | None:
    """Export a network and run the export on the images that torch has answered for already.

    Args:
        model: in evaluation mode, on the CPU.
        squares: uint8 ``(N, P, P, 3)``: the whole validation part.
        logits: ``(N, K)``, what torch said of them, without metadata.
        spec: the preprocessing.
        told: of a network with a branch for it, metadata ``(N, M)`` of these images, and what torch said of them with
            it, ``(N, K)``; both are compared.
    Returns:
        ``None`` where torch cannot export the network; the reason is logged, as it is where parity does not hold.
    """
    unknown = unknown_metadata(model.metadata_features) if model.metadata_features else None
    asked = [(None if unknown is None else unknown.repeat(len(squares), axis=0), logits), *([told] if told else [])]
    try:
        data = export_onnx(model, input_size_px=spec.input_size_px)
        network = OnnxNetwork(data, threads=torch.get_num_threads())
        answers = [_answers(network, squares, spec, metadata) for metadata, _ in asked]
    except OnnxError as error:
        log.warning("onnx_not_exported", reason=error.message)
        return None
    expected = np.concatenate([said for _, said in asked])
    gaps = compare_logits(expected.astype(np.float32), np.concatenate(answers))
    parity = attrs.evolve(gaps, images=len(squares))
    one = normalise(next(plain_batches(squares, spec, batch_size=1)), spec)
    image, nothing = torch.from_numpy(one), None if unknown is None else torch.from_numpy(unknown)
    with torch.inference_mode():
        torch_ms = _median_ms(lambda: model(image, nothing))
    onnx_ms = _median_ms(lambda: network(one, unknown))
    facts = {**attrs.asdict(parity), "torch_ms": round(torch_ms, 2), "onnx_ms": round(onnx_ms, 2)}
    if parity.holds:
        log.info("onnx_exported", **facts)
    else:
        log.warning("onnx_differs", **facts, largest_gap=OnnxParity.LARGEST_GAP)
    return Exported(data=data if parity.holds else None, parity=parity, torch_ms=torch_ms, onnx_ms=onnx_ms)


def _answers(
    network: OnnxNetwork, squares: Squares, spec: PreprocessSpec, metadata: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Logits ``(N, K)``, the mean over the specified views."""
    answers = []
    for number, pixels in enumerate(plain_batches(squares, spec, batch_size=BATCH_SIZE)):
        own = None if metadata is None else metadata[number * BATCH_SIZE : (number + 1) * BATCH_SIZE]
        views = [network(normalise(view, spec), own).logits for view in views_of(pixels, spec.views)]
        answers.append(np.mean(views, axis=0))
    return np.concatenate(answers)


def _median_ms(run: Callable[[], object]) -> float:
    times = []
    for _ in range(TIMED_RUNS):
        started = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)
