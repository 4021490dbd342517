"""Built-in backbones: cheap to list, and described as timm describes them."""

import os
import subprocess
import sys

import pytest

from lesion_plugins.backbones import lesion_register_backbones


def test_listing_backbones_imports_neither_torch_nor_timm():
    """In a fresh interpreter: the registry knows all it needs as data."""

    code = (
        "import sys; from lesion_plugins import backbones;"
        "from lesion_plugins.registry import BackboneRegistry;"
        "assert BackboneRegistry.load(plugins=[backbones]).names();"
        "print(*{'torch', 'timm', 'torchvision'} & set(sys.modules))"
    )
    path = os.pathsep.join(filter(None, sys.path))

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.split() == []


HUB_SPECS = [spec for spec in lesion_register_backbones() if spec.hub]


@pytest.mark.parametrize("spec", HUB_SPECS, ids=lambda spec: spec.name)
def test_preprocessing_and_licence_are_those_that_timm_states(spec):
    """The weights of ``hub`` were trained with this normalisation and come under this licence."""

    from lesion_plugins import torchvision_remedy

    torchvision_remedy.apply()
    import timm

    model = spec.hub.origin.removeprefix("hub: timm/").partition(",")[0]
    config = timm.get_pretrained_cfg(model)

    assert config is not None
    assert (config.mean, config.std) == (spec.preprocess.mean, spec.preprocess.std)
    assert config.input_size[-1] == spec.preprocess.input_size_px
    assert config.license == spec.hub.license.lower()
    assert f"timm/{model}" == config.hf_hub_id


def test_only_vision_transformers_are_tied_to_an_input_size():
    """They cut the image into whole patches, of 14 or 16 px; the others take any size."""

    multiples: dict[str, set[int]] = {}
    for spec in lesion_register_backbones():
        multiples.setdefault(spec.family, set()).add(spec.input_multiple_px)

    assert multiples == {"vit": {14, 16}, "convnext": {1}, "efficientnet": {1}}
