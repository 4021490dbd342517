"""The model card: complete, honest about its licences, and well-formed whatever stands in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_core.data_source import DRAWN
from lesion_core.interval import Interval
from lesion_core.records import lesions_of
from lesion_core.splits import TEST, VALIDATION, Split
from lesion_core.subgroups import FEWEST_LESIONS
from lesion_train.card import REQUIRED_SECTIONS, SETTINGS, CardFacts, missing_sections, render_card
from lesion_train.card_tables import METRICS, TOO_FEW, shown, table
from lesion_train.config_file import FIELDS
from lesion_train.evaluation.values import Evaluation
from support.cards import make_card_facts, row, section, tables_of

Kind = Callable[[CardFacts], CardFacts]
HOSTILE = "a|b\n| c | <script>alert(1)</script> `x` *y* [z](http://w)"


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> CardFacts:
    return make_card_facts(tmp_path_factory.mktemp("facts"))


@pytest.fixture(scope="module")
def card(facts: CardFacts) -> str:
    return render_card(facts)


def without_test_part(facts: CardFacts) -> CardFacts:
    manifest = facts.manifest
    metrics = {name: interval for name, interval in manifest.training.metrics.items() if name.startswith("val_")}
    return attrs.evolve(
        facts,
        manifest=attrs.evolve(manifest, training=attrs.evolve(manifest.training, metrics=metrics)),
        split=attrs.evolve(facts.split, test=()),
        evaluations={VALIDATION: facts.evaluations[VALIDATION]},
    )


def without_malignant_classes(facts: CardFacts) -> CardFacts:
    decision = attrs.evolve(facts.manifest.decision, operating_points=(), triage=())
    evaluations = {
        part: attrs.evolve(evaluation, operating_points=(), triage=(), subgroups=())
        for part, evaluation in facts.evaluations.items()
    }
    return attrs.evolve(facts, manifest=attrs.evolve(facts.manifest, decision=decision), evaluations=evaluations)


def without_an_image_of_a_class(facts: CardFacts) -> CardFacts:
    """Nothing that is said of it could be measured."""

    def emptied(evaluation: Evaluation) -> Evaluation:
        first, *others = evaluation.classes
        known = ("code", "name", "images", "lesions")
        scores: dict[str, Any] = dict.fromkeys(set(attrs.fields_dict(type(first))) - set(known))
        unmeasured = attrs.evolve(first, images=0, lesions=0, **scores)
        headline = attrs.evolve(evaluation.headline, bma=None)
        return attrs.evolve(evaluation, classes=(unmeasured, *others), headline=headline)

    evaluations = {part: emptied(evaluation) for part, evaluation in facts.evaluations.items()}
    return attrs.evolve(facts, evaluations=evaluations)


def with_hostile_names(facts: CardFacts) -> CardFacts:
    """Everything that a person can name holds what Markdown gives a meaning to."""
    manifest = facts.manifest
    first, *others = manifest.taxonomy.trained
    named = attrs.evolve(first, name=HOSTILE.replace("\n", ""))
    record = attrs.evolve(facts.split.train[0], source=HOSTILE)
    return attrs.evolve(
        facts,
        manifest=attrs.evolve(
            manifest,
            taxonomy=attrs.evolve(manifest.taxonomy, trained=(named, *others)),
            backbone=attrs.evolve(manifest.backbone, plugin=HOSTILE, weights_origin=HOSTILE),
            training=attrs.evolve(manifest.training, dataset=HOSTILE),
        ),
        split=attrs.evolve(facts.split, train=(record, *facts.split.train[1:])),
        source=attrs.evolve(facts.source, citations=(HOSTILE,)).with_license(HOSTILE),
    )


def unchanged(facts: CardFacts) -> CardFacts:
    return facts


every_kind = pytest.mark.parametrize(
    "kind",
    [unchanged, without_test_part, without_malignant_classes, without_an_image_of_a_class, with_hostile_names],
)


@every_kind
def test_a_card_of_a_run_is_complete(facts: CardFacts, kind: Kind) -> None:
    """With or without a test part, malignant classes and groups of patients."""
    assert missing_sections(render_card(kind(facts))) == ()


@pytest.mark.parametrize("heading", REQUIRED_SECTIONS)
@pytest.mark.parametrize("text", ["", "\n### Only a heading\n\n", "\n[More Information Needed]\n\n", "\n- TODO\n\n"])
def test_a_section_that_says_nothing_is_named(card: str, heading: str, text: str) -> None:
    """Empty, or a placeholder."""
    emptied = card.replace(section(card, heading), text)

    assert missing_sections(emptied) == (heading,)


@pytest.mark.parametrize("heading", REQUIRED_SECTIONS)
def test_a_section_that_is_not_there_is_named(card: str, heading: str) -> None:
    """Its text under another heading does not count."""
    assert missing_sections(card.replace(f"\n## {heading}\n", "\n## Something else\n")) == (heading,)


def test_a_text_that_is_no_card_lacks_every_section() -> None:
    """Such as that of a bundle made for tests."""
    assert missing_sections("# An untrained model, for tests") == REQUIRED_SECTIONS


def test_every_metric_of_the_manifest_is_in_the_card_by_a_human_name(facts: CardFacts, card: str) -> None:
    """Validation and test part in two columns; sensitivities in the part's table of diagnoses."""
    tables = {part: section(card, "Diagnoses").split(f"### On the {part} part")[1] for part in (VALIDATION, TEST)}

    for key, interval in facts.manifest.training.metrics.items():
        prefix, _, name = key.partition("_")
        part = {"val": VALIDATION, "test": TEST}[prefix]
        if name.startswith("sensitivity_"):
            assert row(tables[part].split("###")[0], f"{name.removeprefix('sensitivity_')}:")[3] == shown(interval)
        else:
            cells = row(section(card, "Metrics"), METRICS[name].format(classes=8))
            assert cells[1 if part == VALIDATION else 2] == shown(interval)
    assert not re.search(r"\b(val|test)_\w+", card)


def test_a_metric_without_a_human_name_is_shown_by_its_own(facts: CardFacts) -> None:
    """So that a new one is never lost."""
    training = facts.manifest.training
    more = {**training.metrics, "test_top_2": Interval(value=0.9, low=0.8, high=0.95)}
    manifest = attrs.evolve(facts.manifest, training=attrs.evolve(training, metrics=more))

    cells = row(render_card(attrs.evolve(facts, manifest=manifest)), "top 2")

    assert cells == ["top 2", "–", "0.900 (0.800–0.950)"]


@every_kind
def test_every_row_of_a_table_has_as_many_cells_as_its_header(facts: CardFacts, kind: Kind) -> None:
    """Whatever the data set, the plugin or the diagnoses are called."""
    tables = list(tables_of(render_card(kind(facts))))

    assert len(tables) >= 12
    for header, rule, *rows in tables:
        assert set(rule) == {"---"}
        assert {len(cells) for cells in (rule, *rows)} == {len(header)}


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_no_text_breaks_a_table(texts: list[str]) -> None:
    """Bars and line breaks are escaped."""
    made = table([f"column {number}" for number in range(len(texts))], [texts])

    assert [len(cells) for cells in next(tables_of(made))] == [len(texts)] * 3


def test_a_ragged_table_is_refused() -> None:
    """It would be shown without its last cells."""
    with pytest.raises(ValueError, match="a, b has not 2 cells"):
        table(["a", "b"], [["only one"]])


@every_kind
def test_no_value_of_a_card_is_missing(facts: CardFacts, kind: Kind) -> None:
    """What could not be measured is a dash."""
    text = render_card(kind(facts))

    assert re.findall(r"\b(?:nan|None(?! of the above)|inf|True|False)\b", text) == []


def test_what_people_name_is_text_in_the_card(facts: CardFacts) -> None:
    """No tag, link or code comes out of it."""
    text = render_card(with_hostile_names(facts))

    assert r"\<script>" in text
    assert re.findall(r"(?<!\\)<script", text) == []
    assert "[z](" not in text.replace(r"\[", "")


def test_a_card_without_a_test_part_says_so(facts: CardFacts) -> None:
    """Its numbers are too good, and there is no column of a test part."""
    text = render_card(without_test_part(facts))

    assert "**It was not measured on a test part**" in text
    assert "validation part set the decision parameters" in text
    headers = [rows[0] for rows in tables_of(text)]
    assert [cell for cells in headers for cell in cells if re.search(r"\btest\b", cell)] == []
    assert [cells for cells in headers if len(set(cells)) < len(cells) and any(cells)] == []


def test_thresholds_and_bands_are_shown_on_the_test_part_too(facts: CardFacts, card: str) -> None:
    """Beside what they had where they were set."""
    points, bands = facts.reported.operating_points, facts.reported.triage

    assert facts.reported is facts.evaluations[TEST]
    for point in points:
        cells = row(section(card, "Operating points"), point.target)
        assert cells[-2:] == [shown(point.sensitivity), shown(point.specificity)]
    for band in bands:
        cells = row(section(card, "Triage"), band.name)
        assert cells[-2] == f"{band.malignant} of {band.malignant + band.not_malignant}"
    assert (len(points), len(bands)) == (4, 3)


def test_the_validation_part_is_said_to_have_set_the_decision_parameters(facts: CardFacts, card: str) -> None:
    """And to have chosen the epoch, unless the last one was kept."""
    last = render_card(attrs.evolve(facts, settings={**facts.settings, "keep": "last"}))

    assert "The validation part set the decision parameters" in card
    assert "It also chose the epoch whose weights were kept." in card
    assert "It also chose" not in last


def test_small_groups_are_said_to_have_too_few_lesions(facts: CardFacts, card: str) -> None:
    """With their number of lesions; other groups have scores with intervals."""
    for item in facts.reported.subgroups:
        cells = row(section(card, "Groups of patients"), f"{item.grouping}: {item.group}")
        assert cells[2] == str(item.lesions)
        if item.lesions < FEWEST_LESIONS:
            assert set(cells[4:]) == {TOO_FEW}
        else:
            assert cells[4] == shown(item.bma)
    sizes = [item.lesions < FEWEST_LESIONS for item in facts.reported.subgroups]
    assert set(sizes) == {True, False}


def test_the_counts_of_the_data_add_up(facts: CardFacts, card: str) -> None:
    """Images and lesions of each diagnosis in each part."""
    header, _, *rows = next(rows for rows in tables_of(card) if rows[0][0] == "images (lesions)")
    *diagnoses, total = rows

    assert header[1:] == ["training", "validation", "test"]
    for column, records in enumerate(facts.split.parts.values(), start=1):
        counted = [[int(number) for number in re.findall(r"\d+", cells[column])] for cells in diagnoses]
        assert [sum(numbers) for numbers in zip(*counted, strict=True)] == [
            len(records),
            len(np.unique(lesions_of(records))),
        ]
        assert total[column] == f"{len(records)} ({len(np.unique(lesions_of(records)))})"


def limits_of(facts: CardFacts, **fields: Any) -> str:
    """The section, where every record has these fields."""
    parts = {
        part: tuple(attrs.evolve(record, **fields) for record in records) for part, records in facts.split.parts.items()
    }
    return section(render_card(attrs.evolve(facts, split=Split(**parts))), "Limits")


def test_limits_follow_from_what_the_records_say(facts: CardFacts, card: str) -> None:
    """Skin type, body sites, patients, and diagnoses with few lesions."""
    limits = section(card, "Limits")
    told = limits_of(facts, fitzpatrick=6, patient_id="one", anatom_site_general=None)

    assert "A skin type is stated for 0 of 320 images" in limits
    assert "320 of 320 images name no patient" in limits
    assert "palms/soles (0)" in limits
    assert re.search(r"Few lesions to learn from, fewer than 100: MEL \(1\d\), NV ", limits)
    assert "320 of 320 images with a stated skin type are of Fitzpatrick type V or VI." in told
    assert "name no patient" not in told
    assert "No training image states a body site" in told


def test_diagnoses_that_were_never_seen_are_named_on_top(facts: CardFacts, card: str) -> None:
    """A folder of three diagnoses makes a network of eight outputs."""
    seen = tuple(record for record in facts.split.train if record.diagnosis not in ("MEL", "SCC"))
    text = render_card(attrs.evolve(facts, split=attrs.evolve(facts.split, train=seen)))

    assert "**It has seen no training image of Melanoma, Squamous cell carcinoma**" in text.split("## Intended use")[0]
    assert "It has seen no" not in card


def test_a_balanced_accuracy_says_over_how_many_diagnoses(facts: CardFacts, card: str) -> None:
    """Those that occur; one without an image has no sensitivity."""
    without_one = render_card(without_an_image_of_a_class(facts))

    assert "for the 8 diagnoses that occur there" in card
    assert "for the 7 diagnoses that occur there" in without_one
    assert row(without_one, "Balanced multiclass accuracy (7 classes)")


def test_a_card_of_drawn_images_says_that_they_are(facts: CardFacts) -> None:
    """A score on them is none on skin."""
    text = render_card(attrs.evolve(facts, source=DRAWN))

    assert "drawn images that no camera took" in section(text, "Intended use")
    assert "**synthetic**" in section(text, "Limits")
    assert "dermoscopic" not in text


def test_every_setting_of_a_card_is_one_of_a_run(facts: CardFacts, card: str) -> None:
    """By a human name, with its value; a linear probe has no epochs."""
    probe = render_card(attrs.evolve(facts, settings={**facts.settings, "linear_probe": True}))

    assert SETTINGS.keys() <= FIELDS.keys()
    assert row(card, "Augmentation") == ["Augmentation", "medium"]
    assert row(card, SETTINGS["patience"])[1] == "–"
    assert row(probe, SETTINGS["linear_probe"])[1] == "yes"
    assert SETTINGS["epochs"] not in probe
