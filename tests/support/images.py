"""Drawn images as encoded bytes."""

from __future__ import annotations

import io

from PIL import Image

from lesion_core.datasets.synthetic import draw_lesion


def encoded_lesion(kind: str = "JPEG", *, code: str = "NV", seed: int = 1, side_px: int = 150) -> bytes:
    """A drawn lesion as the bytes of a file."""
    stream = io.BytesIO()
    Image.fromarray(draw_lesion(code, seed=seed, side_px=side_px)).save(stream, kind)
    return stream.getvalue()
