"""Kinds of options that several commands share; what is wrong with one is said before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from lesion_train.config import LARGEST_SEED


def _can_be_written(_type: object, path: Path | None) -> None:
    if path is None:
        return
    if path.is_dir():
        raise ValueError("It is a folder: name a file.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent}: make it first.")


Switch = Annotated[bool, Parameter(negative="")]
AsJson = Annotated[bool, Parameter(name="--json", negative="")]
AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]
NotNegative = Annotated[int, Parameter(validator=validators.Number(gte=0))]
Seed = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=LARGEST_SEED))]
OutputFile = Annotated[Path, Parameter(validator=_can_be_written)]
