"""Kinds of options that several commands share; a number out of range is refused before any work."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter, Token
from cyclopts.validators import Number

CHAMPION = "models:/skin-lesion@champion"


def _whole(_: object, tokens: Sequence[Token]) -> int:
    """A whole number as people write it. By itself cyclopts takes 1.5 for 2, and 0x10 for 16."""
    if not re.fullmatch(r"-?[0-9]{1,18}", tokens[0].value):
        raise ValueError(f"{tokens[0].value[:20]!r} is no whole number. Write one in digits.")
    return int(tokens[0].value)


Switch = Annotated[bool, Parameter(negative="")]
AsJson = Annotated[bool, Parameter(name="--json", negative="")]
AtLeastOne = Annotated[int, Parameter(converter=_whole, validator=Number(gte=1))]
Positive = Annotated[float, Parameter(validator=Number(gt=0, lt=math.inf))]
NotNegative = Annotated[float, Parameter(validator=Number(gte=0, lt=math.inf))]
Percent = Annotated[float, Parameter(validator=Number(gte=0, lte=100))]
Port = Annotated[int, Parameter(converter=_whole, validator=Number(gte=1, lte=65535))]
