"""Several processes that share each batch, on this machine's CPU, as several GPUs or hosts would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from lesion_core.bundle import load_bundle
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.processes import child_environment
from support import shared_run

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
LOOPBACK = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *command],
        env=child_environment({**LOOPBACK, "TMPDIR": str(cwd)}),  # torchrun leaves a folder of logs there
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def shared(folder: Path, *launcher: str, accumulate: int = 1) -> tuple[list[float], dict[str, np.ndarray], str]:
    folder.mkdir()
    done = run(*launcher, "-m", shared_run.__name__, str(folder), str(accumulate), cwd=folder)
    weights = safetensors.numpy.load_file(folder / "weights.safetensors")
    return json.loads((folder / "losses.json").read_text()), weights, done.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], dict[str, np.ndarray], str]:
    return shared(tmp_path_factory.mktemp("runs") / "alone")


@pytest.mark.parametrize(("launcher", "accumulate"), [(TORCHRUN, 1), (TORCHRUN, 2), ((), 4)])
def test_a_batch_in_slices_gives_the_losses_and_weights_of_the_whole_one(
    alone: tuple[list[float], dict[str, np.ndarray], str], tmp_path: Path, launcher: tuple[str, ...], accumulate: int
) -> None:
    """By two processes, by one in four slices, and by both ways at once."""
    losses, weights, printed = shared(tmp_path / "run", *launcher, accumulate=accumulate)

    assert f"{2 if launcher else 1} processes" in printed
    assert len(losses) == 3 * 8
    np.testing.assert_allclose(losses, alone[0], atol=1e-5)
    for name, tensor in weights.items():
        np.testing.assert_allclose(tensor, alone[1][name], atol=1e-4, err_msg=name)


def test_two_processes_make_one_run_and_one_registered_version(tmp_path: Path) -> None:
    """With the command that a user types."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=20, side_px=64)
    settings = [
        "--epochs",
        "1",
        "--batch-size",
        "16",
        "--input-size-px",
        "32",
        "--pretrained",
        "none",
        "--threads",
        "1",
        "--device",
        "cpu",
    ]

    done = run(*TORCHRUN, "-m", "lesion_train", "fit", "--data", str(data), *settings, cwd=tmp_path)

    (folder,) = (tmp_path / ".lesion" / "runs").iterdir()
    assert done.stdout.count("Registered: models:/skin-lesion/1 as challenger and champion") == 1
    assert f"{folder / 'bundle'} --data {data} --corruptions\n" in done.stdout
    assert load_bundle(folder / "bundle").manifest.training.train_images > 80
    assert not (folder / "checkpoints").exists()


def test_a_batch_that_cannot_be_shared_evenly_is_refused(tmp_path: Path) -> None:
    """Before the data is read, with one that can be."""
    from lesion_core.errors import LesionError
    from lesion_train.config import TrainConfig
    from lesion_train.devices import make_fabric
    from support.small_network import SMALL_CNN_PER_IMAGE

    with pytest.raises(LesionError, match="10 images cannot be shared evenly by 1 processes in 4 slices") as caught:
        make_fabric(TrainConfig(data=tmp_path, batch_size=10, accumulate=4), SMALL_CNN_PER_IMAGE)

    assert caught.value.code == "uneven_batch"
