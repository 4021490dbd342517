"""What a run needs to go on after it was killed, written so that a kill while writing does no harm.

A checkpoint is one safetensors file, ``step-00000120-<start of its sha256>.safetensors``, with weights, their average,
the best average so far, and AdamW's moments. It holds no random state: each step seeds its own (see ``loop``). So a run
that goes on from any checkpoint, an old one too, ends on a CPU with the same weights as one that was never stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import attrs
import safetensors
import safetensors.torch
import structlog
import torch
from torch import Tensor

from lesion_core.disk import FULL_DISK, system_error
from lesion_core.errors import LesionError
from lesion_train.continuing import differences, in_words

log = structlog.get_logger()

KEPT = 2
STAGING = "being-written"  # a folder, since safetensors writes to a file of a name of its own first
_PATTERN = "step-*.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class CheckpointError(LesionError):
    """A checkpoint cannot be written, or none can be used."""

    code = "checkpoint"


@attrs.frozen(kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        step: steps that are done, over all epochs.
        epoch_loss: sum of the losses of this epoch's steps so far.
        best_epoch: the one with the highest balanced accuracy on the validation part, from 1; 0 before the first.
        best_bma: that accuracy, in [0, 1].
    """

    step: int = 0
    epoch_loss: float = 0.0
    best_epoch: int = 0
    best_bma: float = -1.0


class Checkpoints:
    """The checkpoints of one run: the last two are kept."""

    def __init__(self, folder: Path, identity: Mapping[str, str], *, every_s: float) -> None:
        """Nothing is read or written yet.

        Args:
            folder: of the checkpoints; made where it is missing.
            identity: settings and digests that decide on the result; a checkpoint of other ones is refused.
            every_s: seconds between two of them; with 0 there is one after every step.
        """
        self._folder = folder
        self._identity = dict(identity)
        self._every_s = every_s
        self._written_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._written_at >= self._every_s

    def save(self, tensors: Mapping[str, Tensor], progress: Progress) -> None:
        """Write one, and remove all but the last two.

        Raises:
            CheckpointError: ``disk_full``, or ``checkpoint`` for another reason of the system; those before are whole.
        """
        metadata = {"progress": json.dumps(attrs.asdict(progress)), "identity": json.dumps(self._identity)}
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        staging = self._folder / STAGING
        try:
            if staging.exists():  # a kill left it half written
                shutil.rmtree(staging)
            staging.mkdir(parents=True)
            written = staging / "checkpoint.safetensors"
            # Straight from the tensors' own memory: the file is several times as large as the weights.
            safetensors.torch.save_file(contiguous, written, metadata)
            written.chmod(0o644)
            with written.open("rb") as stream:
                os.fsync(stream.fileno())
            path = written.replace(self._folder / f"step-{progress.step:08d}-{_digest(written)}.safetensors")
            staging.rmdir()
        except (OSError, safetensors.SafetensorError) as error:
            shutil.rmtree(staging, ignore_errors=True)
            reason = system_error(error)
            megabytes = sum(tensor.nbytes for tensor in contiguous.values()) / 1e6
            raise CheckpointError(
                f"A checkpoint of {megabytes:.0f} MB cannot be written to {self._folder} "
                f"({error if reason is None else os.strerror(reason)}). "
                f"The run up to the last one is safe: free some room, then\n"
                f"  lesion-train fit --data DIR --resume {shlex.quote(str(self._folder.parent))}",
                code="disk_full" if reason in FULL_DISK else None,
            ) from error
        earlier = [file for file in self._files() if _step(file) < progress.step]
        for file in self._files():  # one of a later step was damaged, and passed over for one before
            if file != path and file not in earlier[: KEPT - 1]:
                file.unlink()
        self._written_at = time.monotonic()

    def reached(self) -> Progress | None:
        """How far the newest whole one is; ``None`` where there is none at all.

        Raises:
            CheckpointError: there are some, and all are damaged; or it is of other settings or data.
        """
        newest = self._newest()
        return None if newest is None else newest[1]

    def latest(self) -> tuple[dict[str, Tensor], Progress] | None:
        """The newest whole one, its tensors mapped from the file; ``None`` and errors as for ``reached``."""
        newest = self._newest()
        return None if newest is None else (safetensors.torch.load_file(newest[0]), newest[1])

    def _newest(self) -> tuple[Path, Progress] | None:
        damaged = []
        for path in self._files():
            if not path.stem.endswith(_digest(path)):
                log.warning("checkpoint_damaged", file=str(path))
                damaged.append(path.name)
                continue
            with safetensors.safe_open(path, framework="pt") as stream:
                metadata = stream.metadata()
            self._require_identity(json.loads(metadata["identity"]), path)
            return path, Progress(**json.loads(metadata["progress"]))
        if damaged:
            raise CheckpointError(
                f"All checkpoints in {self._folder} are damaged ({', '.join(damaged)}): their content does not have "
                "the digest in their name. Restore one from a backup, or train anew with 'lesion-train fit'."
            )
        return None

    def remove(self) -> None:
        """Remove all of them: the run is complete."""
        if self._folder.is_dir():
            shutil.rmtree(self._folder)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(_PATTERN), reverse=True)

    def _require_identity(self, found: Mapping[str, str], path: Path) -> None:
        changes = differences(found, self._identity)
        if changes:
            raise CheckpointError(
                f"{path} is of other settings or other data than now: {in_words(changes)}. A run can only go on as it "
                "began: put them back, or begin a new one with 'lesion-train fit'."
            )


def has_checkpoints(folder: Path) -> bool:
    """Whether there is one, whole or not."""
    return any(folder.glob(_PATTERN))


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's state, by position of the parameter."""
    return {
        f"{position}.{name}": optimiser.state[parameter][name]
        for position, parameter in enumerate(_parameters(optimiser))
        for name in _MOMENTS
        if parameter in optimiser.state
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what ``optimiser_tensors`` gave."""
    for position, parameter in enumerate(_parameters(optimiser)):
        for name in _MOMENTS if f"{position}.step" in tensors else ():
            found = tensors[f"{position}.{name}"]
            # The fused step walks through parameter and moments by address: they need the same memory format.
            like = torch.empty_like(parameter) if name != "step" else torch.empty((), device=parameter.device)
            optimiser.state[parameter][name] = like.detach().copy_(found)


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _step(path: Path) -> int:
    return int(path.stem.split("-")[1])


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
