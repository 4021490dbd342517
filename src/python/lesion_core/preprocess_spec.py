"""How pixels become a network's input, as a value. Importing it imports no library of images or numbers."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import attrs

SHADES_OF_GREY = "shades_of_grey"

_Triple = tuple[float, float, float]


def _triple(values: Iterable[float]) -> _Triple:
    return tuple(values)  # type: ignore[return-value]  # the validator counts them


def _three_shares(instance: object, attribute: attrs.Attribute[_Triple], value: _Triple) -> None:
    if len(value) != 3 or not all(0 <= v <= 1 for v in value):
        raise ValueError(f"{attribute.name} needs three values in [0, 1], got {value!r}")


def _three_positive(instance: object, attribute: attrs.Attribute[_Triple], value: _Triple) -> None:
    if len(value) != 3 or not all(0 < v <= 1 for v in value):
        raise ValueError(f"{attribute.name} needs three values in (0, 1], got {value!r}")


class Views(StrEnum):
    """Which views of an image the network answers for; what each is stands in ``views``."""

    NONE = "none"
    FLIPS_AND_ROTATIONS = "flips_and_rotations"
    MULTI_CROP = "multi_crop"


@attrs.frozen(kw_only=True)
class PreprocessSpec:
    """How pixels become a network's input.

    The steps, in this order:

    1. ``crop_border``: black bars and a dermatoscope's black surround are cut. First, because the central square of
       what is left is not the one of the whole frame.
    2. The central square is cut; ``crop_fraction`` < 1 takes a smaller one.
    3. It is scaled to ``input_size_px`` (Pillow's antialiased bilinear filter).
    4. ``colour_constancy``: ``"shades_of_grey"`` takes the colour of the light out. After scaling, so that the light
       is estimated from what the network sees and the cost does not grow with the photograph.
    5. ``views``: other views of the square are answered for as well, and the answers averaged.
    6. ``mean`` and ``std``, per RGB channel on the scale [0, 1], shift and scale the values.
    """

    input_size_px: int = attrs.field(validator=[attrs.validators.ge(16), attrs.validators.le(2048)])
    mean: _Triple = attrs.field(default=(0.5, 0.5, 0.5), converter=_triple, validator=_three_shares)
    std: _Triple = attrs.field(default=(0.5, 0.5, 0.5), converter=_triple, validator=_three_positive)
    crop_fraction: float = attrs.field(default=1.0, validator=[attrs.validators.gt(0), attrs.validators.le(1)])
    crop_border: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    colour_constancy: str | None = attrs.field(default=None, validator=attrs.validators.in_((None, SHADES_OF_GREY)))
    views: Views = attrs.field(default=Views.NONE, validator=attrs.validators.in_(tuple(Views)))
