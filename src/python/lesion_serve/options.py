"""Kinds of options that several commands share; a number out of range is refused before any work."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

CHAMPION = "models:/skin-lesion@champion"

Switch = Annotated[bool, Parameter(negative="")]
AsJson = Annotated[bool, Parameter(name="--json", negative="")]
AtLeastOne = Annotated[int, Parameter(validator=Number(gte=1))]
Positive = Annotated[float, Parameter(validator=Number(gt=0))]
NotNegative = Annotated[float, Parameter(validator=Number(gte=0))]
Percent = Annotated[float, Parameter(validator=Number(gte=0, lte=100))]
Port = Annotated[int, Parameter(validator=Number(gte=1, lte=65535))]
