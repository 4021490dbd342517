"""``lesion-train weights``: weights from elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cyclopts import App

from lesion_train.options import OutputFile

weights = App(name="weights", help="Bring weights from elsewhere into a form that can be trained from.")


@weights.command
def convert(checkpoint: Path, safetensors: OutputFile) -> None:
    """Convert a checkpoint of PyTorch (.pth, .pt, .bin, .ckpt) to safetensors, without running code from it.

    Example: lesion-train weights convert mine.pth mine.safetensors, then lesion-train fit --pretrained mine.safetensors

    Parameters
    ----------
    checkpoint
        File made by torch.save: a state dict, alone or under 'state_dict' or 'model'.
    safetensors
        File to write; replaced where it exists.
    """
    from lesion_plugins.conversion import convert_checkpoint

    state = convert_checkpoint(checkpoint, safetensors)
    data = safetensors.read_bytes()
    print(f"Wrote {safetensors}: {len(state)} tensors, {len(data) / 1e6:.1f} MB")
    print(f"  sha256 {hashlib.sha256(data).hexdigest()}")
