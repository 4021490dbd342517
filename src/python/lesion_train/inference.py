"""What a network says of many images, without training it."""

# N images · P side of the stored squares · M metadata features

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from lesion_core.decision.ood import NetworkOutput
from lesion_core.preprocess import normalise
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.views import views_of
from lesion_plugins.classifier import Classifier
from lesion_train.data import plain_batches, unknown_metadata
from lesion_train.image_bar import image_bar
from lesion_train.squares import Squares

BATCH_SIZE = 64


def run_network(
    model: Classifier,
    squares: Squares,
    spec: PreprocessSpec,
    metadata: NDArray[np.float32] | None = None,
    *,
    shown: str | None = None,
) -> NetworkOutput:
    """What the network says of N images, in order; the mean over the specified views.

    Args:
        model: any classifier, on any device.
        squares: uint8 ``(N, P, P, 3)``.
        spec: its preprocessing.
        metadata: float32 ``(N, M)``; a network with a branch for it is told that nothing is known where it is ``None``.
        shown: the images' name where the progress is shown; it is not where it is ``None``.
    """
    device = next(model.parameters()).device
    model.eval()
    logits: list[NDArray[np.float32]] = []
    embeddings: list[NDArray[np.float32]] = []
    told = None
    if model.metadata_features:
        rows = unknown_metadata(model.metadata_features).repeat(len(squares), axis=0) if metadata is None else metadata
        told = torch.from_numpy(rows).to(device).split(BATCH_SIZE)
    bar = nullcontext(lambda images: None) if shown is None else image_bar(len(squares), f"network, {shown}")
    with torch.inference_mode(), bar as advance:
        for number, pixels in enumerate(plain_batches(squares, spec, batch_size=BATCH_SIZE)):
            views = [torch.from_numpy(normalise(view, spec)) for view in views_of(pixels, spec.views)]
            known = None if told is None else told[number]
            outputs = [model(images.to(device, memory_format=torch.channels_last), known) for images in views]
            logits.append(torch.stack([output.logits.float() for output in outputs]).mean(0).cpu().numpy())
            embeddings.append(torch.stack([output.embedding.float() for output in outputs]).mean(0).cpu().numpy())
            advance(len(pixels))
    return NetworkOutput(logits=np.concatenate(logits), embeddings=np.concatenate(embeddings))
