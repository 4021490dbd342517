"""A figure beside its limit: shared by the benchmarks whose exit code says whether all hold."""

from __future__ import annotations

import attrs


@attrs.frozen
class Limited:
    """A figure and what it may be: at most, or at least, ``limit``."""

    name: str
    value: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether it is within its limit."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        bound, verdict = "at least" if self.at_least else "at most", "holds" if self.holds else "DOES NOT HOLD"
        return f"{self.name:52} {self.value:8.2f} {self.unit:3} {bound:8} {self.limit:6.2f}   {verdict}"
