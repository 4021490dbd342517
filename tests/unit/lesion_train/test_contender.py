"""Two models side by side, on the same held-out images."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesion_train.contender import Contender, NotComparableError, pair
from support.bundles import make_tiny_bundle
from support.runs import make_contender


def test_runs_are_compared_like_versions(tmp_path: Path) -> None:
    """From their folders; a pair needs the same images."""
    tiny = make_tiny_bundle(tmp_path / "tiny")
    one = Contender.from_run(make_contender(tmp_path, tiny, skill=0.5, seed=1).folder)
    two = Contender.from_run(make_contender(tmp_path, tiny, skill=0.9, seed=2).folder)
    fewer = Contender.from_run(make_contender(tmp_path, tiny, skill=0.9, seed=3, count=160).folder)

    both = pair(one, two)

    assert both.difference("BMA").difference.low > 0
    assert {"BMA", "macro AUROC", "ECE", "sensitivity MEL", "sensitivity DF"} <= set(both.metrics())
    with pytest.raises(NotComparableError, match="different images"):
        pair(one, fewer)
