"""What a model card says about the licences of images and weights."""

from __future__ import annotations

import re

import attrs
import pytest
from huggingface_hub import ModelCard

from lesion_core.data_source import UNSTATED, DataSource, License, license_named
from lesion_core.datasets import isic
from lesion_train.card import CardFacts, render_card
from support.cards import make_card_facts, row


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> CardFacts:
    return make_card_facts(tmp_path_factory.mktemp("facts"))


def weights_sentence(facts: CardFacts, source: DataSource, weights_license: str = "Apache-2.0") -> str:
    """What the section on licences begins with."""
    manifest = facts.manifest
    backbone = attrs.evolve(manifest.backbone, weights_license=weights_license)
    text = render_card(attrs.evolve(facts, manifest=attrs.evolve(manifest, backbone=backbone), source=source))
    (sentence,) = set(re.findall(r"^(?:- )?\*\*(The trained .*?|What the .*?)\*\*", text, flags=re.MULTILINE))
    return str(sentence)


def of_license(*names: str) -> DataSource:
    return DataSource(name="a set", images="images", published=tuple(license_named(name) for name in names))


NON_COMMERCIAL = "The trained weights are for non-commercial use only, because "
UNKNOWN = "What the trained weights may be used for is unknown, because "


@pytest.mark.parametrize(
    ("source", "weights_license", "expected"),
    [
        (isic.SOURCE, "Apache-2.0", f"{NON_COMMERCIAL}the images are under CC BY-NC 4.0."),
        (isic.SOURCE, "none", f"{NON_COMMERCIAL}the images are under CC BY-NC 4.0."),
        (of_license("CC BY", "CC-BY-NC"), "MIT", f"{NON_COMMERCIAL}some of the images are under CC BY-NC."),
        (UNSTATED, "MIT", f"{UNKNOWN}the licence of the images is not stated. Clear that before any use."),
        (
            of_license("CC BY 4.0"),
            "CC-BY-NC-4.0",
            f"{NON_COMMERCIAL}the weights that training started from are under CC BY-NC 4.0.",
        ),
        (
            of_license("CC BY 4.0"),
            "DINOv3-License",
            f"{UNKNOWN}the licence of the weights that training started from (DINOv3-License) is not one that this "
            "program knows. Clear that before any use.",
        ),
        (
            of_license("CC BY 4.0"),
            "Apache-2.0",
            "The trained weights may be used commercially as far as the licence of the images (CC BY 4.0) or the "
            "weights that training started from (Apache-2.0) goes; name their authors.",
        ),
        (
            of_license("CC BY 4.0"),
            "none",
            "The trained weights may be used commercially as far as the licence of the images (CC BY 4.0) goes; name "
            "their authors.",
        ),
    ],
)
def test_one_plain_sentence_says_what_the_licences_mean_for_the_weights(
    facts: CardFacts, source: DataSource, weights_license: str, expected: str
) -> None:
    """The same on top and in the section on licences; the strictest licence decides."""
    assert weights_sentence(facts, source, weights_license) == expected


def test_a_card_shows_a_stated_licence_beside_the_publisher_s(facts: CardFacts) -> None:
    """So that nobody loosens one unseen."""
    text = render_card(attrs.evolve(facts, source=isic.SOURCE.with_license("CC BY 4.0")))

    assert row(text, "Licence")[1] == (
        "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/), as whoever trained stated; the publisher's: "
        "CC BY-NC 4.0"
    )


@pytest.mark.parametrize(
    ("license", "expected"),
    [
        (license_named("CC BY-NC 4.0"), {"license": "other", "license_name": "non-commercial"}),
        (License(name="not stated"), {"license": "unknown"}),
        (license_named("CC BY 4.0"), {}),
    ],
)
def test_the_hub_reads_the_first_lines(facts: CardFacts, license: License, expected: dict[str, str]) -> None:
    """By its own library; a licence that the weights do not have is not claimed."""
    source = attrs.evolve(facts.source, published=(license,))

    data = ModelCard(render_card(attrs.evolve(facts, source=source))).data.to_dict()

    assert {key: value for key, value in data.items() if key.startswith("license")} == expected
    assert data["pipeline_tag"] == "image-classification"
