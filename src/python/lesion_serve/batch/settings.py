"""What the answers of a batch depend on: an unfinished run goes on only with the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

LayoutName = Literal["full", "isic"]


@attrs.frozen(kw_only=True)
class BatchSettings:
    """Everything that decides what stands in the output.

    Attributes:
        bundle: digest of the bundle that answers.
        version: of the model, as the output names it.
        layout: of the output.
        paths: absolute paths of the files and folders that were named, in their order, one a line.
        metadata: sha256 of the table of patients; empty without one.
        program: version of this package.
    """

    bundle: str
    version: str
    layout: LayoutName
    paths: str
    metadata: str
    program: str

    def differences(self, other: Mapping[str, str]) -> tuple[str, ...]:
        """What is not as in ``other``, one sentence each."""
        return tuple(
            f"{name} was {_shown(other.get(name, ''))}, is {_shown(value)}"
            for name, value in attrs.asdict(self).items()
            if other.get(name, "") != value
        )


def _shown(value: str) -> str:
    text = ", ".join(value.splitlines()) or "none"
    return text if len(text) <= 200 else f"{text[:200]}…"
