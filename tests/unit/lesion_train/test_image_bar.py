"""Long passes over images say how far they are, short ones leave nothing behind."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import attrs
import numpy as np
import pytest
from structlog.testing import capture_logs

from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_plugins.classifier import build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_train import image_bar
from lesion_train.data_report import check_data
from lesion_train.inference import run_network
from lesion_train.squares import SquareCache


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """What a terminal is shown."""
    errors = StringIO()
    monkeypatch.setattr(errors, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr", errors)
    return errors


def test_a_terminal_has_a_bar_that_goes_when_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the rate and the time left; the line is blank afterwards."""
    terminal = a_terminal(monkeypatch)
    with image_bar.image_bar(40, "decoding") as advance:
        advance(30)
        advance(10)

    *_, last, blank, _ = terminal.getvalue().split("\r")
    assert "decoding" in last
    assert "40" in last
    assert blank.strip() == ""


def test_elsewhere_a_line_is_written_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """None by a pass that is over before."""
    with capture_logs() as lines, image_bar.image_bar(40, "decoding") as advance:
        advance(30)
        monkeypatch.setattr(image_bar, "LINE_EVERY_S", 0.0)
        advance(10)

    assert lines == [{"event": "images_done", "log_level": "info", "doing": "decoding", "done": 40, "of": 40}]


def test_all_that_takes_long_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Scanning a data set, decoding it, and asking the network; not the network's own scores of each epoch."""
    terminal = a_terminal(monkeypatch)
    found = check_data(write_synthetic_dataset(tmp_path / "data", images_per_class=1, side_px=64), threads=1)
    spec = PreprocessSpec(input_size_px=32)
    squares = SquareCache(tmp_path / "cache", found.dataset.records, threads=1).squares(found.dataset.records, spec)
    backbone = BackboneRegistry.load().get("efficientnet_lite0")
    model, _ = build_classifier(backbone, classes=8, input_size_px=32, pretrained="none")
    shown = run_network(model, squares, attrs.evolve(backbone.preprocess, input_size_px=32), shown="test part")
    before = terminal.getvalue()
    silent = run_network(model, squares, attrs.evolve(backbone.preprocess, input_size_px=32))

    for doing in ("scanning", "decoding", "network, test part"):
        assert f"{doing}:" in before
    assert terminal.getvalue() == before
    np.testing.assert_array_equal(shown.logits, silent.logits)
