"""What a backbone is, as a value: nothing here imports torch, so listing backbones costs nothing."""

# N images · C=3 RGB · H, W pixels · D features

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import attrs

from lesion_core.decision.parameters import OodDetector
from lesion_core.preprocess import PreprocessSpec
from lesion_plugins.errors import InputSizeError

if TYPE_CHECKING:
    from torch import Tensor, nn

RANDOM_ORIGIN = "random initialisation (seed by caller)"

_not_blank = attrs.validators.matches_re(r"\S(?s:.*)")


class BuildBackbone(Protocol):
    """Make a fresh, randomly initialised network for square images of ``input_size_px``.

    The module maps float32 ``(N, 3, H, W)`` to pooled features, float32 ``(N, D)``. Its random state is
    torch's global one: the caller seeds it. Loading weights is not its business: see
    ``lesion_plugins.weights``.
    """

    def __call__(self, *, input_size_px: int) -> nn.Module:
        """Build the network."""


@attrs.frozen(kw_only=True)
class WeightsSource:
    """Pretrained weights that a backbone can start from.

    ``origin`` says for good what they are (data, package or address, licence); it travels in every bundle.
    ``load`` takes ``input_size_px`` and returns a state dict that fits ``build(input_size_px=...)`` strictly;
    it may raise whatever it likes: the caller turns that into a ``WeightsError``.
    """

    origin: str = attrs.field(validator=_not_blank)
    license: str = attrs.field(validator=_not_blank)
    load: Callable[[int], Mapping[str, Tensor]] = attrs.field(validator=attrs.validators.is_callable())


@attrs.frozen(kw_only=True)
class BackboneSpec:
    """A backbone on offer: pixels → features.

    ``name`` is snake_case and unique over all plugins. ``preprocess`` is the default; training may override
    ``input_size_px`` with any size that ``check_input_size`` accepts. ``bundled`` are weights that need no
    network, ``hub`` ones that are downloaded. Licences are SPDX identifiers where one exists. ``ood_detector`` tells
    strange images best on this backbone's embeddings; a run may choose another.
    """

    name: str = attrs.field(validator=attrs.validators.matches_re(r"[a-z][a-z0-9_]*"))
    family: str = attrs.field(validator=_not_blank)
    build: BuildBackbone = attrs.field(validator=attrs.validators.is_callable())
    feature_dim: int = attrs.field(validator=attrs.validators.gt(0))
    preprocess: PreprocessSpec = attrs.field(validator=attrs.validators.instance_of(PreprocessSpec))
    code_license: str = attrs.field(validator=_not_blank)
    smallest_input_px: int = attrs.field(default=32, validator=attrs.validators.ge(16))
    input_multiple_px: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    bundled: WeightsSource | None = None
    hub: WeightsSource | None = None
    ood_detector: OodDetector = attrs.field(default=OodDetector.MAHALANOBIS, converter=OodDetector)

    def __attrs_post_init__(self) -> None:
        self.check_input_size(self.preprocess.input_size_px)
        self.check_input_size(self.smallest_input_px)

    @property
    def weights_license(self) -> str:
        """Licence of the pretrained weights on offer, bundled first; ``"none"`` where there are none."""
        licenses = [source.license for source in (self.bundled, self.hub) if source is not None]
        return " / ".join(dict.fromkeys(licenses)) or "none"

    def license_of(self, weights_origin: str) -> str:
        """Licence of the weights that training started from; ``"not stated"`` for a user's own file."""
        if weights_origin == RANDOM_ORIGIN:
            return "none"
        for source in (self.bundled, self.hub):
            if source is not None and source.origin == weights_origin:
                return source.license
        return "not stated"

    def check_input_size(self, input_size_px: int) -> None:
        """Refuse a size that ``build`` cannot take.

        Raises:
            InputSizeError: too small, or not a multiple of ``input_multiple_px``; names the nearest size.
        """
        if input_size_px < self.smallest_input_px or input_size_px % self.input_multiple_px:
            raise InputSizeError(
                self.name,
                input_size_px,
                smallest_px=self.smallest_input_px,
                multiple_px=self.input_multiple_px,
            )
