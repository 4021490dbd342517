"""Checkpoints of PyTorch become safetensors, and nothing in them is run."""

import os

import pytest
import safetensors.torch
import torch

from lesion_plugins.conversion import convert_checkpoint
from lesion_plugins.errors import WeightsError


def _tensors():
    return {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {"state_dict": {"a.weight": torch.ones(1)}, "state_dict_ema": state},
    ],
    ids=["alone", "with the epoch", "of parallel training", "with an average"],
)
def test_a_state_dict_is_found_where_training_scripts_put_it(tmp_path, wrap):
    """Averaged weights before others."""

    torch.save(wrap(_tensors()), tmp_path / "mine.pth")

    names = convert_checkpoint(tmp_path / "mine.pth", tmp_path / "mine.safetensors")

    written = safetensors.torch.load_file(tmp_path / "mine.safetensors")
    assert set(names) == set(written) == set(_tensors())
    assert all(torch.equal(tensor, written[name]) for name, tensor in _tensors().items())


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    """Safetensors itself refuses them."""

    tied = torch.ones(3)
    torch.save({"one": tied, "other": tied}, tmp_path / "tied.pth")

    assert set(convert_checkpoint(tmp_path / "tied.pth", tmp_path / "tied.safetensors")) == {"one", "other"}


class _Malicious:
    def __reduce__(self):
        return os.mkdir, (self.folder,)

    def __init__(self, folder):
        self.folder = folder


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    """The error says so, and what to ask the author for; nothing is written."""

    torch.save({"a": torch.zeros(1), "b": _Malicious(str(tmp_path / "pwned"))}, tmp_path / "bad.pth")

    with pytest.raises(WeightsError, match="would run code when it is loaded, so it was not"):
        convert_checkpoint(tmp_path / "bad.pth", tmp_path / "bad.safetensors")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.pth"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"epoch": 3, "a": torch.zeros(1)}, "1 of its 2 entries are no tensors (epoch)"),
        ([torch.zeros(1)], "holds list, not a state dict"),
        ({}, "holds dict, not a state dict"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, content, reason):
    """The sentence says what was found."""

    torch.save(content, tmp_path / "odd.pth")

    with pytest.raises(WeightsError) as caught:
        convert_checkpoint(tmp_path / "odd.pth", tmp_path / "odd.safetensors")

    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        torch.ones(3, device="meta"),
    ],
    ids=["sparse", "quantised", "meta"],
)
def test_a_tensor_that_safetensors_cannot_hold_is_named(tmp_path, tensor):
    """A dense one beside it changes nothing."""

    torch.save({"dense": torch.ones(1), "odd": tensor}, tmp_path / "odd.pth")

    with pytest.raises(WeightsError, match=r"1 tensors that are sparse, quantised or without their values \(odd\)"):
        convert_checkpoint(tmp_path / "odd.pth", tmp_path / "odd.safetensors")

    assert not (tmp_path / "odd.safetensors").exists()


@pytest.mark.parametrize("content", [None, b"", b"no archive at all"])
def test_a_file_that_is_missing_or_damaged_is_a_named_error(tmp_path, content):
    """Whatever PyTorch raises for it."""

    path = tmp_path / "odd.pth"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(WeightsError, match=r"odd\.pth"):
        convert_checkpoint(path, tmp_path / "odd.safetensors")


def test_the_target_is_named_as_what_it_is(tmp_path):
    """Another suffix would be refused later, when it is trained from."""

    with pytest.raises(WeightsError, match=r"ends in \.safetensors"):
        convert_checkpoint(tmp_path / "a.pth", tmp_path / "b.pth")
