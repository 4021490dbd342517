"""The heat map at any opacity, from the picture that the service sends."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from lesion_core.wire import HeatMap


def overlay(png: bytes, opacity: float) -> Image.Image:
    """Colours over the grey picture.

    A picture with another palette than ``HeatMap`` describes is shown as it is, whatever the opacity.

    Args:
        png: of ``lesion_core.wire.HeatMap``.
        opacity: in [0, 1]; 0 is the grey picture alone.
    Returns:
        RGB, of the size of the picture.
    """
    picture = Image.open(io.BytesIO(png), formats=("PNG",))
    if picture.mode != "P":
        return picture.convert("RGB")
    entries = np.array(picture.getpalette() or [], dtype=float).reshape(-1, 3)
    if len(entries) != HeatMap.LEVELS * HeatMap.LEVELS:
        return picture.convert("RGB")
    greys = np.linspace(0, 255, HeatMap.LEVELS)[None, :, None]
    blends = entries.reshape(HeatMap.LEVELS, HeatMap.LEVELS, 3)
    colours = 2 * blends[:, :1] - greys[:, :1]  # beside black, a blend is half of its colour
    wanted = opacity * colours + (1 - opacity) * greys
    table = np.rint(wanted.clip(0, 255)).astype(np.uint8).reshape(-1, 3)
    return Image.fromarray(table[np.asarray(picture)])
