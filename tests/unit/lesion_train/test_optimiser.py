"""Learning rates of the parts of a network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lesion_plugins.classifier import Classifier, build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_train.config import TrainConfig
from lesion_train.optimiser import learning_rate_factor, make_optimiser, set_learning_rates


def groups_of(name: str, **changes: float) -> tuple[Classifier, TrainConfig, torch.optim.Optimizer]:
    spec = BackboneRegistry.load().get(name)
    model, _ = build_classifier(spec, classes=8, input_size_px=64, pretrained="none")
    config = TrainConfig(**{"data": Path("unused"), "epochs": 10, **changes})  # type: ignore[arg-type]
    return model, config, make_optimiser(model, spec, config)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "convnext_atto", "vit_tiny"])
def test_every_parameter_is_in_one_group_and_earlier_ones_learn_more_slowly(name: str) -> None:
    """Of each family; the head has a rate of its own."""
    model, _, optimiser = groups_of(name, learning_rate=1e-3, head_learning_rate=5e-3, layer_decay=0.5)

    grouped = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    assert len(grouped) == len(set(map(id, grouped))) == len(list(model.parameters()))
    head = set(map(id, model.head_parameters()))
    peaks = [group["peak"] for group in optimiser.param_groups if not head & set(map(id, group["params"]))]
    layers = len(BackboneRegistry.load().get(name).layer_groups)
    assert sorted(set(peaks), reverse=True) == pytest.approx([1e-3 * 0.5**n for n in range(layers)])
    assert peaks == sorted(peaks)
    assert {g["peak"] for g in optimiser.param_groups if head & set(map(id, g["params"]))} == {5e-3}


def test_biases_and_gains_are_not_decayed() -> None:
    """Weights are."""
    _, config, optimiser = groups_of("convnext_atto")

    for group in optimiser.param_groups:
        assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] > 0}
    assert {group["weight_decay"] for group in optimiser.param_groups} == {0.0, config.weight_decay}


def test_what_the_network_exempts_is_not_decayed_either() -> None:
    """Positions and class token of a transformer, by timm's names, though these lie within another network."""
    model, _, optimiser = groups_of("vit_tiny")
    names = {parameter: name for name, parameter in model.named_parameters()}

    spared = {names[p] for g in optimiser.param_groups if g["weight_decay"] == 0 for p in g["params"] if p.ndim > 1}

    assert spared == {"backbone.network.pos_embed", "backbone.network.cls_token"}


def test_layer_groups_join_from_the_head_s_end_on_and_the_head_learns_from_the_first_step() -> None:
    """In equal distances over the epochs of the stage; afterwards all learn."""
    _, config, optimiser = groups_of("efficientnet_lite0", unfreeze_epochs=4.0)
    frozen = []
    for step in range(50):
        set_learning_rates(optimiser, config, step=step, steps_an_epoch=10)
        frozen.append([group["lr"] == 0 for group in optimiser.param_groups])

    assert not any(frozen[40])
    assert all(frozen[0][:-2])
    assert not any(frozen[0][-2:])
    assert [sum(row) for row in frozen] == sorted((sum(row) for row in frozen), reverse=True)
    assert all(row == sorted(row, reverse=True) for row in frozen)
    assert len({sum(row) for row in frozen}) == len({group["joins_at"] for group in optimiser.param_groups})


def test_layers_that_would_never_join_are_refused() -> None:
    """A stage that is as long as the run."""
    with pytest.raises(ValueError, match="less than epochs"):
        TrainConfig(data=Path("images"), epochs=3, unfreeze_epochs=3)


@pytest.mark.parametrize("unfreeze_epochs", [2.99, 2.9])
def test_the_first_layers_learn_in_the_last_step_at_the_latest(unfreeze_epochs: float) -> None:
    """Where the stage ends between the last step and the end of the run."""
    _, config, optimiser = groups_of("efficientnet_lite0", epochs=3, unfreeze_epochs=unfreeze_epochs)

    set_learning_rates(optimiser, config, step=28, steps_an_epoch=10)
    assert optimiser.param_groups[0]["lr"] == 0

    set_learning_rates(optimiser, config, step=29, steps_an_epoch=10)
    assert all(group["lr"] > 0 for group in optimiser.param_groups)


def test_all_learn_at_once_without_stages() -> None:
    """The default; the highest rate is the head's."""
    _, config, optimiser = groups_of("efficientnet_lite0")

    highest = set_learning_rates(optimiser, config, step=9, steps_an_epoch=10)

    assert all(group["lr"] == group["peak"] for group in optimiser.param_groups)
    assert highest == config.head_learning_rate


@given(st.integers(2, 5000))
def test_learning_rate_rises_to_its_peak_and_falls_to_zero(steps: int) -> None:
    """Whatever the length of the run."""
    factors = [learning_rate_factor(step, steps) for step in range(steps + 1)]
    peak = factors.index(max(factors))

    assert max(factors) == pytest.approx(1)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert factors[-1] == pytest.approx(0, abs=1e-9)
