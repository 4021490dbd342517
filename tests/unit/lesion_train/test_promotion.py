"""Which version is served: gates, the way back, and the log of both, with a real MLflow database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from mlflow.tracking import MlflowClient

from lesion_core.bundle import Bundle
from lesion_core.errors import LesionError
from lesion_train import promotion
from lesion_train.card import REQUIRED_SECTIONS
from lesion_train.cli import main
from lesion_train.contender import Contender
from lesion_train.promotion import PromotionRefusedError, examine
from lesion_train.promotion_log import Action
from lesion_train.tracking import TrackingError
from lesion_train.tracking.fetch import fetch_version
from lesion_train.tracking.registry import Registry, registry_lock
from support.houses import House
from support.runs import make_contender

NAME = "skin-lesion"


@pytest.fixture
def model(house: House, request: pytest.FixtureRequest) -> str:
    """A registered model of this test alone, whose first version is a middling champion."""
    name = request.node.name.replace("[", "-").replace("]", "")
    house.add(name, 0.6, seed=100)
    return name


def test_a_better_version_becomes_champion_and_a_rollback_returns(house: House, model: str) -> None:
    """One command each; what the gates measured, who and why stay in the log."""
    better = house.add(model, 0.9, seed=1)

    house.promote("challenger", model, why="fewer missed melanomas")
    assert house.champion(model) == better
    house.rollback(model)
    assert house.champion(model) == "1"

    first, second, third = house.log.changes(model)
    assert (first.action, first.from_version, first.to_version) == (Action.REGISTER, None, "1")
    assert (second.action, second.from_version, second.to_version) == (Action.PROMOTE, "1", better)
    assert (third.action, third.from_version, third.to_version) == (Action.ROLLBACK, better, "1")
    assert [change.outcome for change in (first, second, third)] == ["done"] * 3
    assert second.why == "fewer missed melanomas"
    assert second.who
    assert second.made_at.endswith("+00:00")
    gates = {gate["name"]: gate for gate in second.gates}
    assert set(gates) == {"bundle", "card", "calibration", "BMA", "sensitivity MEL"}
    assert gates["BMA"]["figures"]["difference"]["low"] > 0


def test_a_worse_version_is_refused_with_numbers_and_changes_nothing(house: House, model: str) -> None:
    """Beyond the paired interval, on the same images."""
    worse = house.add(model, 0.2, seed=2)

    with pytest.raises(PromotionRefusedError, match="failed: BMA, sensitivity MEL") as caught:
        house.promote(worse, model)

    failed = {gate.name: gate.sentence for gate in caught.value.gates if not gate.has_passed}
    assert "on 320 images of part 'test': difference -0." in failed["BMA"]
    assert "worse beyond the paired interval" in failed["BMA"]
    assert house.champion(model) == "1"
    assert len(house.log.changes(model)) == 1


def test_a_version_within_the_interval_passes(house: House, model: str) -> None:
    """A little less on 320 images says nothing."""
    similar = house.add(model, 0.58, seed=3)

    house.promote(similar, model)

    assert house.champion(model) == similar


def test_an_override_needs_a_reason_and_is_kept(house: House, model: str) -> None:
    """With the gates that failed."""
    worse = house.add(model, 0.2, seed=4)

    with pytest.raises(LesionError, match="--why TEXT") as caught:
        house.promote(worse, model, override=True, why=" ")
    assert caught.value.code == "no_reason"
    house.promote(worse, model, override=True, why="a demonstration of the rollback")

    assert house.champion(model) == worse
    change = house.log.changes(model)[-1]
    assert change.is_overridden
    assert change.why == "a demonstration of the rollback"
    assert [gate["name"] for gate in change.gates if not gate["has_passed"]] == ["BMA", "sensitivity MEL"]


def test_versions_of_different_splits_are_not_compared(house: House, model: str) -> None:
    """One may have been trained on the images that the other was tested on."""
    other = house.add(model, 0.99, seed=5, split_digest="6" * 64)

    with pytest.raises(PromotionRefusedError, match="failed: comparison") as caught:
        house.promote(other, model)

    assert "trained on different splits" in caught.value.gates[-1].sentence
    house.promote(other, model, override=True, why="the old split leaked")
    assert house.champion(model) == other


def test_a_version_without_predictions_is_not_compared(house: House, model: str) -> None:
    """It says which one has none."""
    blind = house.add(model, 0.99, seed=6, with_predictions=False)

    with pytest.raises(PromotionRefusedError) as caught:
        house.promote(blind, model)

    assert f"version {blind} has no predictions" in caught.value.gates[-1].sentence


def test_a_badly_calibrated_version_is_refused_above_the_limit_that_was_given(house: House, model: str) -> None:
    """0.10 where none was given."""
    version = house.add(model, 0.9, seed=7, ece=0.12)

    with pytest.raises(PromotionRefusedError, match="failed: calibration"):
        house.promote(version, model)
    house.promote(version, model, max_ece=0.15)

    assert house.champion(model) == version


def test_a_card_with_a_gap_is_refused(house: House, model: str) -> None:
    """A missing heading, an empty section and a licence that is not named are each said."""
    sections = [f"## {heading}\ntext\n" for heading in REQUIRED_SECTIONS if heading not in ("Limits", "Data")]
    card = "".join(["# Card\n", *sections, "## Data\n\n"]).encode()
    version = house.add(model, 0.9, seed=8, card=card)

    with pytest.raises(PromotionRefusedError, match="failed: card") as caught:
        house.promote(version, model)

    sentence = next(gate.sentence for gate in caught.value.gates if gate.name == "card")
    assert "section 'Limits' is missing or says nothing" in sentence
    assert "section 'Data' is missing or says nothing" in sentence
    assert "the licence of the code is not named" in sentence


@pytest.mark.parametrize("harm", ["altered", "missing", "exchanged"])
def test_a_bundle_that_is_not_the_registered_one_is_never_promoted(house: House, model: str, harm: str) -> None:
    """No override either: serving would refuse it."""
    version = house.add(model, 0.9, seed=9)
    source = Path(str(house.client.get_model_version(model, version).source).removeprefix("file://"))
    if harm == "altered":
        (source / "bundle" / "card.md").write_text("other")
    elif harm == "missing":
        source.rename(source.with_name("gone"))
    else:
        house.client.set_model_version_tag(model, version, "bundle_digest", "f" * 64)

    with pytest.raises(PromotionRefusedError, match="cannot be overridden"):
        house.promote(version, model, override=True, why="I insist")

    assert house.champion(model) == "1"


@pytest.mark.parametrize(("missing", "failed"), [("MEL", ["sensitivity MEL"]), ("DF", [])])
def test_a_class_that_is_watched_and_was_not_measured_refuses(
    tiny: Bundle, tmp_path: Path, missing: str, failed: list[str]
) -> None:
    """A part without a melanoma says nothing of melanoma; of the other diagnoses it need not."""
    both = []
    for skill in (0.6, 0.9):
        made = Contender.from_run(make_contender(tmp_path, tiny, skill=skill, seed=int(10 * skill)).folder)
        said = made.predictions["test"]
        kept = said.labels != said.codes.index(missing)
        some = attrs.evolve(
            said,
            isic_ids=said.isic_ids[kept],
            lesions=said.lesions[kept],
            units=said.units[kept],
            labels=said.labels[kept],
            probabilities=said.probabilities[kept],
        )
        both.append(attrs.evolve(made, predictions={"test": some}))

    gates = examine(both[1], both[0])

    assert [gate.name for gate in gates if not gate.has_passed] == failed
    sentences = [gate.sentence for gate in gates if not gate.has_passed]
    assert all(f"part 'test' has no image of {missing}" in sentence for sentence in sentences)


def test_predictions_that_were_altered_are_named(house: House, model: str) -> None:
    """The gates read what the run wrote; an override needs none."""
    version = house.add(model, 0.9, seed=10)
    run = house.client.get_run(str(house.client.get_model_version(model, version).run_id))
    path = Path(str(run.info.artifact_uri).removeprefix("file://")) / "predictions" / "test.csv"
    path.write_text(path.read_text().replace(",NV,", ",MEL,", 2))

    with pytest.raises(PromotionRefusedError, match="failed: comparison") as caught:
        house.promote(version, model)

    assert "altered" in caught.value.gates[-1].sentence
    house.promote(version, model, override=True, why="the file was edited by hand")
    assert house.champion(model) == version


def test_rollbacks_go_further_back_each_time(house: House, model: str) -> None:
    """And not forth again; before the first champion there is none."""
    for skill, seed in ((0.8, 11), (0.9, 12)):
        house.promote(house.add(model, skill, seed=seed), model)
    seen = [house.champion(model)]
    for _ in range(2):
        house.rollback(model)
        seen.append(house.champion(model))

    assert seen == ["3", "2", "1"]
    with pytest.raises(LesionError, match="knows no champion") as caught:
        house.rollback(model)
    assert caught.value.code == "no_earlier_champion"


def test_a_champion_that_was_moved_by_other_means_is_not_lost(house: House, model: str) -> None:
    """In MLflow's page, say: a rollback from there returns to the last that the log knows, and a promotion notes it."""
    second, third = house.add(model, 0.8, seed=13), house.add(model, 0.9, seed=14)
    house.client.set_registered_model_alias(model, "champion", second)

    house.promote(third, model)
    house.rollback(model)
    assert house.champion(model) == second
    house.rollback(model)
    assert house.champion(model) == "1"


def test_versions_of_another_server_are_no_way_back(
    house: House, model: str, tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workspace has one log, and its commands may be told of several servers: the same number is another bundle."""
    monkeypatch.chdir(tmp_path)  # where MLflow keeps the files of a database that is not the workspace's own
    elsewhere = House(house.workspace, tiny, f"sqlite:///{tmp_path / 'elsewhere.db'}")
    house.promote(house.add(model, 0.9, seed=20), model)
    elsewhere.add(model, 0.6, seed=21)
    elsewhere.promote(elsewhere.add(model, 0.9, seed=22), model)

    house.rollback(model)
    elsewhere.rollback(model)

    assert (house.champion(model), elsewhere.champion(model)) == ("1", "1")


def test_a_rollback_to_a_bundle_that_was_exchanged_is_refused(house: House, model: str) -> None:
    """The log keeps the digest of each champion."""
    house.promote(house.add(model, 0.9, seed=15), model)
    source = Path(str(house.client.get_model_version(model, "1").source).removeprefix("file://"))
    (source / "bundle" / "card.md").write_text("other")

    with pytest.raises(PromotionRefusedError, match="cannot be champion again"):
        house.rollback(model)

    assert house.champion(model) == "2"


def test_a_champion_that_changes_while_the_old_one_is_fetched_stops_a_rollback(
    house: House, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetching takes long from a server far away; others may register and promote meanwhile."""
    house.promote(house.add(model, 0.8, seed=23), model)
    third = house.add(model, 0.9, seed=24)

    def meanwhile(*arguments: Any, **options: Any) -> Contender:
        house.client.set_registered_model_alias(model, "champion", third)
        return fetch_version(*arguments, **options)

    monkeypatch.setattr(promotion, "fetch_version", meanwhile)

    with pytest.raises(LesionError) as caught:
        house.rollback(model)

    assert caught.value.code == "champion_changed"
    assert house.champion(model) == third


@pytest.mark.parametrize(("has_moved", "outcome"), [(True, "done"), (False, "abandoned")])
def test_a_crash_between_row_and_alias_is_settled_by_the_next_command(
    house: House, model: str, monkeypatch: pytest.MonkeyPatch, has_moved: bool, outcome: str
) -> None:
    """The row comes first, so no change is without its reason; the alias tells whether it happened."""
    better = house.add(model, 0.9, seed=16)

    class Crash(BaseException):
        pass

    original = MlflowClient.set_registered_model_alias

    def crash(self: MlflowClient, name: str, alias: str, version: str) -> None:
        if has_moved:
            original(self, name, alias, version)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", crash)
        with pytest.raises(Crash):
            house.promote(better, model, why="cut short")
    assert house.log.changes(model)[-1].outcome is None

    registry = Registry(house.uri, house.workspace, model)
    with registry_lock(house.workspace):
        registry.settle()
        registry.settle()

    change = house.log.changes(model)[-1]
    assert (change.why, change.outcome) == ("cut short", outcome)
    assert house.champion(model) == (better if has_moved else "1")
    if has_moved:
        house.rollback(model)
    else:
        house.promote(better, model)
    assert house.champion(model) == ("1" if has_moved else better)


def test_a_champion_that_changes_meanwhile_stops_a_promotion(
    house: House, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was compared with another champion."""
    second, third = house.add(model, 0.8, seed=17), house.add(model, 0.9, seed=18)

    def meanwhile(*arguments: object, **options: object) -> object:
        house.client.set_registered_model_alias(model, "champion", second)
        return examine(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("lesion_train.promotion.examine", meanwhile)
    with pytest.raises(LesionError, match="Repeat") as caught:
        house.promote(third, model)

    assert caught.value.code == "champion_changed"
    assert house.champion(model) == second


@pytest.mark.parametrize(
    ("reference", "code"), [("7", "no_version"), ("nobody", "no_version"), ("1", "already_champion")]
)
def test_what_cannot_be_promoted_is_named(house: House, model: str, reference: str, code: str) -> None:
    """With the versions that there are."""
    with pytest.raises(LesionError) as caught:
        house.promote(reference, model)

    assert caught.value.code == code
    if code == "no_version":
        assert isinstance(caught.value, TrackingError)
        assert "Known: 1, challenger, champion." in caught.value.message


def test_the_commands_print_a_sentence_a_gate_and_end_with_4_when_refused(
    house: House, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And list what happened, for people and for programs."""
    worse = house.add(model, 0.2, seed=19)
    monkeypatch.setenv("LESION_HOME", str(house.workspace.root))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["lesion-train", *arguments, "--name", model])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    code, shown, error = run("promote", worse)
    assert code == 4
    assert "passed  bundle: the bundle is intact" in shown
    assert "FAILED  BMA: BMA 0." in shown
    assert "was not promoted; failed: BMA, sensitivity MEL" in error
    code, shown, _ = run("compare", "champion", worse)
    assert code == 0
    assert "Part 'test': 320 images of 160 lesions" in shown
    assert "sensitivity MEL" in shown
    assert run("promote", "99")[0] == 2
    assert run("promote", worse, "--override", "--why", "for the test")[0] == 0
    code, shown, _ = run("rollback")
    assert code == 0
    assert f"version {worse} -> version 1" in shown
    _, shown, _ = run("promotions")
    assert len(shown.splitlines()) == 3
    assert "for the test  [OVERRIDDEN: BMA, sensitivity MEL]" in shown
    _, shown, _ = run("promotions", "--json")
    assert [json.loads(line)["action"] for line in shown.splitlines()] == ["register", "promote", "rollback"]
