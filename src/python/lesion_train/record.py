"""The local record of a run: written first and always; MLflow only mirrors it.

run.json        name, settings, facts
config.toml     the settings again, for 'lesion-train fit --config'
split.csv       which image was trained on, which was held out
epochs.jsonl    metrics, one line an epoch
plots/*.png     learning curves, confusion, ROC, reliability
checkpoints/    what an interrupted run goes on from
bundle/         the model
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import attrs


@attrs.frozen
class RunRecord:
    """A folder that holds one run."""

    folder: Path

    @classmethod
    def create(cls, runs: Path, name: str, settings: dict[str, Any], facts: dict[str, str]) -> RunRecord:
        """Make a new folder below ``runs``; its name starts with the time (UTC)."""
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        name = name.replace(":", "-")  # of timm:MODEL; not every file system has it
        folder, suffix = runs / f"{stamp}-{name}", 1
        while True:
            try:
                folder.mkdir(parents=True)
                break
            except FileExistsError:
                suffix += 1
                folder = runs / f"{stamp}-{name}-{suffix}"
        record = cls(folder)
        record.plots.mkdir()
        content = {"name": folder.name, "settings": settings, "facts": facts}
        (folder / "run.json").write_text(json.dumps(content, indent=2, sort_keys=True))
        return record

    @property
    def bundle(self) -> Path:
        """Folder of the bundle."""
        return self.folder / "bundle"

    @property
    def config(self) -> Path:
        """TOML file of the settings; see ``config_file.to_toml``."""
        return self.folder / "config.toml"

    @property
    def split(self) -> Path:
        """CSV file of the images and the parts they are in; see ``lesion_core.splits.read_parts``."""
        return self.folder / "split.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints, while the run is not complete."""
        return self.folder / "checkpoints"

    @property
    def plots(self) -> Path:
        """Folder of the plots."""
        return self.folder / "plots"

    @property
    def description(self) -> dict[str, Any]:
        """Content of ``run.json``: ``name``, ``settings``, ``facts``."""
        content: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return content

    def add_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Append one epoch, with the time in milliseconds."""
        row = {"epoch": epoch, "time_ms": int(time.time() * 1000), **metrics}
        with (self.folder / "epochs.jsonl").open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    @property
    def epochs(self) -> list[dict[str, float]]:
        """All epochs so far."""
        path = self.folder / "epochs.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
