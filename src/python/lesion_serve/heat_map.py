"""A heat map: which places of an image speak for a diagnosis, as a small picture for the wire."""

# V views · D features · h, w cells of the feature map · S side of the network's square

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lesion_core.preprocess_spec import Views
from lesion_core.views import maps_on_square
from lesion_core.wire import HeatMap
from lesion_plugins.activation_map import class_activation_maps

LONGEST_SIDE_PX = 512
COLOURS = "viridis"
COLOUR_SHARE = 0.5


def evidence_for(
    class_weight: NDArray[np.float32], feature_maps: NDArray[np.float32], *, views: Views, side_px: int
) -> NDArray[np.float32]:
    """What every place of the network's square adds to one class: the activation maps of all views, laid together.

    Where the backbone pools by the mean, the mean of the result plus the head's bias is the class' logit, averaged over
    the views, without what a metadata branch adds. Where it does not promise that, as backbones by the name of
    ``timm:MODEL``, each value is the head's opinion of one cell, as if the cell were the whole image.

    Args:
        class_weight: float32 ``(D,)``, the class' row of the head.
        feature_maps: float32 ``(V, D, h, w)``, in the order of ``views_of``.
        views: which ones.
        side_px: S.
    Returns:
        float32 ``(S, S)``, in units of logits.
    """
    maps = class_activation_maps(feature_maps, class_weight[None])[:, 0]
    return maps_on_square(maps, views, side_px)


def draw_heat_map(square: NDArray[np.uint8], evidence: NDArray[np.float32], *, code: str, is_additive: bool) -> HeatMap:
    """Lay evidence in colours over the picture that the network saw.

    Evidence against the diagnosis, below 0, is drawn as none. A scale with two ends would show it, but what speaks
    against one diagnosis speaks for another that the picture cannot name, and half of the colours would be spent on it;
    ``lowest`` says how far it reaches. The colours are viridis': their lightness rises evenly, also for people who see
    few colours. They lie over a grey picture, so that no hue is the skin's own.

    Args:
        square: uint8 ``(S, S, 3)``.
        evidence: float32 ``(S, S)``, in units of logits.
        code: of the diagnosis.
        is_additive: whether the mean of the evidence is what the image adds to the logit.
    Returns:
        The picture, at most ``LONGEST_SIDE_PX`` on a side, with the range of what it shows.
    """
    lowest, highest = float(evidence.min()), float(evidence.max())
    share = evidence.clip(0, None) / highest if highest > 0 else np.zeros_like(evidence)
    grey = np.asarray(cv2.cvtColor(square, cv2.COLOR_RGB2GRAY))
    if len(square) > LONGEST_SIDE_PX:
        size = (LONGEST_SIDE_PX, LONGEST_SIDE_PX)
        share = np.asarray(cv2.resize(share, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    steps = np.rint(share * (HeatMap.LEVELS - 1)).astype(np.uint8)
    picture = Image.fromarray(steps * HeatMap.LEVELS + grey.astype(np.uint8) // (256 // HeatMap.LEVELS))
    picture.putpalette(_PALETTE)  # makes of grey levels positions in the palette
    png = io.BytesIO()
    picture.save(png, "PNG")
    return HeatMap(
        code=code,
        method="class_activation" if is_additive else "opinion_of_places",
        lowest=lowest,
        highest=highest,
        colours=COLOURS,
        png_base64=base64.b64encode(png.getvalue()).decode("ascii"),
    )


def _blends() -> bytes:
    """RGB of every step of the evidence over every grey."""
    greys = np.linspace(0, 255, HeatMap.LEVELS).astype(np.uint8)
    colours = cv2.applyColorMap(greys, cv2.COLORMAP_VIRIDIS).reshape(HeatMap.LEVELS, 1, 3)[:, :, ::-1]
    blended = COLOUR_SHARE * colours + (1 - COLOUR_SHARE) * greys.reshape(1, HeatMap.LEVELS, 1)
    return np.rint(blended).astype(np.uint8).tobytes()


_PALETTE = _blends()
