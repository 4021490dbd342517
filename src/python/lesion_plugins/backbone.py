"""What a backbone is, as a value: nothing here imports torch, so listing backbones costs nothing."""

# N images · C=3 RGB · H, W pixels · D features

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

import attrs
from attrs.validators import deep_iterable, ge, gt, instance_of, is_callable, matches_re, optional

from lesion_core.decision.parameters import OodDetector
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_plugins.errors import InputSizeError
from lesion_plugins.feature_map import FeatureMap

if TYPE_CHECKING:
    from torch import Tensor, nn

RANDOM_ORIGIN = "random initialisation (seed by caller)"

_not_blank = matches_re(r"\S(?s:.*)")


class BuildBackbone(Protocol):
    """Make a fresh, randomly initialised network for square images of ``input_size_px``.

    The module maps float32 ``(N, 3, H, W)`` to pooled features, float32 ``(N, D)``. Its random state is
    torch's global one: the caller seeds it. Loading weights is not its business: see
    ``lesion_plugins.weights``.
    """

    def __call__(self, *, input_size_px: int) -> nn.Module:
        """Build the network."""


def _always() -> bool:
    return True


@attrs.frozen(kw_only=True)
class WeightsSource:
    """Pretrained weights that a backbone can start from.

    ``origin`` says for good what they are (data, package or address, licence); it travels in every bundle.
    ``load`` takes ``input_size_px`` and returns a state dict that fits ``build(input_size_px=...)`` strictly;
    it may raise whatever it likes: the caller turns that into a ``WeightsError``. ``is_installed`` says whether
    bundled weights are on this machine; it is quick and never raises.
    """

    origin: str = attrs.field(validator=_not_blank)
    license: str = attrs.field(validator=_not_blank)
    load: Callable[[int], Mapping[str, Tensor]] = attrs.field(validator=is_callable())
    is_installed: Callable[[], bool] = attrs.field(default=_always, validator=is_callable())


def _regular_expression(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"layer group {value!r} is not a regular expression: {error}") from error


def _tuple(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


@attrs.frozen(kw_only=True)
class BackboneSpec:
    """A backbone on offer: pixels → features. ``lesion_plugins.conformance`` checks it against what is built.

    Attributes:
        name: snake_case and unique over all plugins; a backbone that is found by a prefix is named ``prefix:rest``.
        family: for grouping in lists, e.g. ``"vit"``.
        build: makes the network.
        feature_dim: D, features that the network pools.
        preprocess: the size and normalisation that suit it; training may override ``input_size_px`` with any size that
            ``check_input_size`` accepts.
        code_license: SPDX identifier, where one exists.
        code_origin: what defines the network: package, paper or address.
        parameters: how many the built network has at ``preprocess.input_size_px``.
        multiply_adds: of one image at ``preprocess.input_size_px``, of its convolutions and matrix products.
        feature_map: which layer gives the feature map; ``None`` where the network has none, and so no heat map.
        layer_groups: regular expressions on names of parameters, from the input to the features. A parameter belongs
            to the first that matches its beginning; with layer-wise learning rates, earlier groups learn more slowly.
            One group by default.
        smallest_input_px: side of the smallest square image that it takes.
        largest_input_px: side of the largest that it takes; ``None`` for no limit.
        input_multiple_px: sides have to be multiples of this.
        bundled: weights that install like a package.
        hub: weights that are downloaded.
        read_published: reads a file of weights that does not fit as it is: as the network's authors publish it, or of
            ours for another input size; gets its tensors by name (of a bundle those of the backbone, by its own names)
            and ``input_size_px``, and returns a state dict that fits.
        ood_detector: tells strange images best on this backbone's embeddings; a run may choose another.
        exports_onnx: the network can be exported to ONNX, and answers the same there.
        bf16_on_cpu: training is faster in bfloat16 than in float32, on CPUs that compute in it.
        compatible_since: oldest version of the plugin's distribution whose bundles this network still serves; by
            default that of the installed release series (1.x, or 0.1.x).
    """

    name: str = attrs.field(validator=matches_re(r"[a-z][a-z0-9_]*(:[A-Za-z0-9_.-]+)?"))
    family: str = attrs.field(validator=_not_blank)
    build: BuildBackbone = attrs.field(validator=is_callable())
    feature_dim: int = attrs.field(validator=gt(0))
    preprocess: PreprocessSpec = attrs.field(validator=instance_of(PreprocessSpec))
    code_license: str = attrs.field(validator=_not_blank)
    code_origin: str = attrs.field(validator=_not_blank)
    parameters: int = attrs.field(validator=gt(0))
    multiply_adds: int = attrs.field(validator=gt(0))
    feature_map: FeatureMap | None = attrs.field(default=None, validator=optional(instance_of(FeatureMap)))
    layer_groups: tuple[str, ...] = attrs.field(
        default=("",), converter=_tuple, validator=deep_iterable(_regular_expression)
    )
    smallest_input_px: int = attrs.field(default=32, validator=ge(16))
    largest_input_px: int | None = attrs.field(default=None, validator=optional(ge(16)))
    input_multiple_px: int = attrs.field(default=1, validator=ge(1))
    bundled: WeightsSource | None = None
    hub: WeightsSource | None = None
    read_published: Callable[[Mapping[str, Tensor], int], Mapping[str, Tensor]] | None = None
    ood_detector: OodDetector = attrs.field(default=OodDetector.MAHALANOBIS, converter=OodDetector)
    exports_onnx: bool = False
    bf16_on_cpu: bool = False
    compatible_since: str | None = None

    def __attrs_post_init__(self) -> None:
        self.check_input_size(self.preprocess.input_size_px)
        self.check_input_size(self.smallest_input_px)

    @property
    def weights_license(self) -> str:
        """Licence of the pretrained weights on offer, bundled first; ``"none"`` where there are none."""
        licenses = [source.license for source in (self.bundled, self.hub) if source is not None]
        return " / ".join(dict.fromkeys(licenses)) or "none"

    @property
    def is_offline(self) -> bool:
        """Whether weights that install like a package are on this machine; the hub's cache is not looked at."""
        return self.bundled is not None and self.bundled.is_installed()

    def license_of(self, weights_origin: str) -> str:
        """Licence of the weights that training started from; ``"not stated"`` for a user's own file."""
        if weights_origin == RANDOM_ORIGIN:
            return "none"
        for source in (self.bundled, self.hub):
            if source is not None and source.origin == weights_origin:
                return source.license
        return "not stated"

    def layer_of(self, parameter: str) -> int:
        """Index of the layer group that a parameter belongs to.

        Raises:
            ValueError: none of the groups matches.
        """
        for index, pattern in enumerate(self.layer_groups):
            if re.match(pattern, parameter):
                return index
        raise ValueError(f"parameter {parameter!r} of {self.name} belongs to none of its layer groups")

    def check_input_size(self, input_size_px: int) -> None:
        """Refuse a size that ``build`` cannot take.

        Raises:
            InputSizeError: too small, too large, or not a multiple of ``input_multiple_px``; names the nearest size.
        """
        is_too_large = self.largest_input_px is not None and input_size_px > self.largest_input_px
        if is_too_large or input_size_px < self.smallest_input_px or input_size_px % self.input_multiple_px:
            raise InputSizeError(
                self.name,
                input_size_px,
                smallest_px=self.smallest_input_px,
                largest_px=self.largest_input_px,
                multiple_px=self.input_multiple_px,
            )
