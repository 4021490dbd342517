"""A backbone as a value: validation, sizes, licences."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_core.preprocess_spec import PreprocessSpec
from lesion_plugins.backbone import RANDOM_ORIGIN, WeightsSource
from lesion_plugins.backbones import vit
from lesion_plugins.errors import InputSizeError


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Tiny CNN"},
        {"name": ""},
        {"family": " "},
        {"build": "not callable"},
        {"feature_dim": 0},
        {"preprocess": 224},
        {"code_license": ""},
        {"input_multiple_px": 0},
    ],
    ids=str,
)
def test_spec_refuses_a_field_that_makes_no_sense(make_spec, changes):
    """Each field has a validator."""

    with pytest.raises((ValueError, TypeError)):
        make_spec(**changes)


def test_spec_refuses_a_default_size_that_it_cannot_take():
    """The default preprocessing has to obey the spec's own rule."""

    with pytest.raises(InputSizeError, match="vit_tiny cannot take images of 100 px"):
        attrs.evolve(vit.BACKBONES[0], preprocess=PreprocessSpec(input_size_px=100))


@given(
    input_size_px=st.integers(-5, 2000),
    smallest_steps=st.integers(2, 6),
    multiple_px=st.sampled_from([8, 14, 16, 32]),
)
def test_a_refused_size_names_a_size_that_is_accepted(make_spec, input_size_px, smallest_steps, multiple_px):
    """``nearest_px`` is always possible."""

    smallest_px = smallest_steps * multiple_px
    spec = make_spec(
        preprocess=PreprocessSpec(input_size_px=smallest_px),
        smallest_input_px=smallest_px,
        input_multiple_px=multiple_px,
    )

    try:
        spec.check_input_size(input_size_px)
    except InputSizeError as error:
        spec.check_input_size(error.nearest_px)
    else:
        assert input_size_px >= smallest_px
        assert input_size_px % multiple_px == 0


def test_a_refused_size_is_explained():
    """The sentence holds the value, the rule and the way out."""

    error = InputSizeError("vit_tiny", 100, smallest_px=32, multiple_px=16)

    expected = (
        "vit_tiny cannot take images of 100 px: it takes 32 px or more in multiples of 16 px. "
        "The nearest size is 96 px."
    )
    assert expected == str(error)
    assert error.code == "bad_input_size"


def test_licence_follows_the_weights_that_were_used(make_spec):
    """Bundled and downloaded weights may have different licences; a user's own file has an unknown one."""

    bundled = WeightsSource(origin="bundled, MIT", license="MIT", load=lambda size_px: {})
    hub = WeightsSource(origin="hub, CC-BY-NC-4.0", license="CC-BY-NC-4.0", load=lambda size_px: {})
    spec = make_spec(bundled=bundled, hub=hub)

    origins = [bundled.origin, hub.origin, RANDOM_ORIGIN, "file mine.safetensors"]
    assert [spec.license_of(origin) for origin in origins] == ["MIT", "CC-BY-NC-4.0", "none", "not stated"]
    assert spec.weights_license == "MIT / CC-BY-NC-4.0"
    assert make_spec().weights_license == "none"
