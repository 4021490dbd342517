"""Checkpoints are whole or not there, and only go with the run that they are of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lesion_core.processes import child_environment
from lesion_train.checkpoint import (
    STAGING,
    CheckpointError,
    Checkpoints,
    Progress,
    optimiser_tensors,
    restore_optimiser,
)
from support.full_disk import full_disk

IDENTITY = {"epochs": "10", "data_digest": "abc"}


SAVES_400_MB = """
import resource, sys
from pathlib import Path
import torch
from lesion_train.checkpoint import Checkpoints, Progress

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

tensors = {str(number): torch.ones(10_000_000) for number in range(10)}
checkpoints = Checkpoints(Path(sys.argv[1]) / "checkpoints", {}, every_s=0)
before = peak_mb()
checkpoints.save(tensors, Progress(step=1))
print(peak_mb() - before)
"""


def checkpoints(folder: Path, **changes: str) -> Checkpoints:
    return Checkpoints(folder / "checkpoints", {**IDENTITY, **changes}, every_s=0)


def save(folder: Path, *steps: int, size: int = 3) -> None:
    for step in steps:
        checkpoints(folder).save(
            {"weight": torch.full((size,), float(step))}, Progress(step=step, epoch_loss=0.1 * step)
        )


def files(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").iterdir())


def latest_step(folder: Path) -> int:
    found = checkpoints(folder).latest()
    assert found is not None
    tensors, progress = found
    assert tensors["weight"].tolist() == [float(progress.step)] * len(tensors["weight"])
    return progress.step


def test_the_newest_comes_back_with_its_progress_to_the_last_bit(tmp_path: Path) -> None:
    """Tensors and floats alike."""
    progress = Progress(step=7, epoch_loss=1 / 3, best_epoch=2, best_bma=0.1 + 0.2)
    tensors = {"a.b": torch.randn(3, 4, 5).transpose(0, 2), "count": torch.tensor(3)}

    checkpoints(tmp_path).save(tensors, progress)

    found = checkpoints(tmp_path).latest()
    assert found is not None
    assert found[1] == progress
    assert found[0].keys() == tensors.keys()
    assert all(torch.equal(found[0][name], tensor) for name, tensor in tensors.items())


def test_there_is_none_before_the_first(tmp_path: Path) -> None:
    """That is no error: the run begins."""
    assert checkpoints(tmp_path).latest() is None


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    """However many there were, past a million steps too."""
    save(tmp_path, 9, 10, 100, 12_345_678)

    assert [file.name[:13] for file in files(tmp_path)] == ["step-00000100", "step-12345678"]
    assert latest_step(tmp_path) == 12_345_678


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_one_is_passed_over_for_the_one_before(tmp_path: Path, damage: str) -> None:
    """A run that goes on from there ends with the same weights, a little later."""
    save(tmp_path, 1, 2)
    harm(files(tmp_path)[-1], damage)

    assert latest_step(tmp_path) == 1


def test_a_damaged_one_is_none_of_the_last_two(tmp_path: Path) -> None:
    """What was gone on from stays until two whole ones are there."""
    save(tmp_path, 100, 120)
    harm(files(tmp_path)[-1], "flipped")

    save(tmp_path, 110)
    assert [file.name[:13] for file in files(tmp_path)] == ["step-00000100", "step-00000110"]
    save(tmp_path, 120)
    assert [file.name[:13] for file in files(tmp_path)] == ["step-00000110", "step-00000120"]


def test_where_all_are_damaged_that_is_said_and_none_is_touched(tmp_path: Path) -> None:
    """A person decides."""
    save(tmp_path, 1, 2)
    for file in files(tmp_path):
        harm(file, "flipped")
    before = files(tmp_path)

    with pytest.raises(CheckpointError, match=r"All checkpoints in .* are damaged .*step-00000002"):
        checkpoints(tmp_path).latest()

    assert files(tmp_path) == before


def test_a_kill_while_writing_leaves_those_before(tmp_path: Path) -> None:
    """What is half written lies elsewhere, and goes with the next one, or with all of them."""
    save(tmp_path, 1)
    left = tmp_path / "checkpoints" / STAGING / ".tmpQx1Y2z"
    left.parent.mkdir()
    left.write_bytes(b"half")

    assert latest_step(tmp_path) == 1
    save(tmp_path, 2)
    assert latest_step(tmp_path) == 2
    assert not left.parent.exists()

    left.parent.mkdir()
    left.write_bytes(b"half")
    checkpoints(tmp_path).remove()
    assert not (tmp_path / "checkpoints").exists()


def test_a_full_disk_is_named_and_those_before_are_whole(tmp_path: Path) -> None:
    """With the command that goes on; nothing half written stays."""
    save(tmp_path, 1)

    with full_disk(beyond_bytes=4096), pytest.raises(CheckpointError, match=r"lesion-train fit .*--resume"):
        save(tmp_path, 2, size=10_000)

    assert latest_step(tmp_path) == 1
    assert len(files(tmp_path)) == 1


def test_writing_one_takes_no_memory_to_speak_of(tmp_path: Path) -> None:
    """It has five times the weights' size, and so would have a copy of it."""
    run = subprocess.run(
        [sys.executable, "-c", SAVES_400_MB, str(tmp_path)],
        env=child_environment(),
        check=True,
        capture_output=True,
        text=True,
    )

    assert float(run.stdout) < 100
    assert files(tmp_path)[0].stat().st_size > 400e6


def test_other_settings_or_data_are_refused_and_named(tmp_path: Path) -> None:
    """All that changed."""
    save(tmp_path, 1)

    with pytest.raises(CheckpointError, match=r"data_digest: abc → xyz; epochs: 10 → 12\. A run can only go on"):
        checkpoints(tmp_path, epochs="12", data_digest="xyz").latest()


def test_a_complete_run_needs_none(tmp_path: Path) -> None:
    """They are several times as large as the bundle."""
    save(tmp_path, 1, 2)

    checkpoints(tmp_path).remove()

    assert not (tmp_path / "checkpoints").exists()


def test_an_optimiser_goes_on_as_if_never_stopped() -> None:
    """In the memory format of its parameters, which the fused step relies on."""

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 2)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(model: nn.Module, optimiser: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            torch.manual_seed(step)
            optimiser.zero_grad()
            model(torch.randn(2, 3, 3, 3)).square().sum().backward()
            optimiser.step()

    whole = network()
    train(whole, torch.optim.AdamW(whole.parameters(), lr=0.1, fused=True), range(6))
    halved = network()
    first = torch.optim.AdamW(halved.parameters(), lr=0.1, fused=True)
    train(halved, first, range(3))
    second = torch.optim.AdamW(halved.parameters(), lr=0.1, fused=True)
    kept = {name: tensor.contiguous().clone() for name, tensor in optimiser_tensors(first).items()}

    restore_optimiser(second, kept)
    train(halved, second, range(3, 6))

    for one, other in zip(whole.parameters(), halved.parameters(), strict=True):
        assert torch.equal(one, other)


def harm(file: Path, damage: str) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes({"flipped": bytes(data), "cut": bytes(data[:-5]), "empty": b""}[damage])
