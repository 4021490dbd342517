"""What is lost at MLflow - an alias, a version, a file of predictions - and who is champion then."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from lesion_core.bundle import Bundle
from lesion_core.errors import LesionError
from lesion_core.workspace import Workspace
from lesion_train.cli import main
from lesion_train.promotion import PromotionRefusedError
from support.houses import House


@pytest.fixture
def model(house: House, request: pytest.FixtureRequest) -> str:
    """A registered model of this test alone: version 1 was champion, version 2 is."""
    name = request.node.name.replace("[", "-").replace("]", "")
    house.add(name, 0.6, seed=100)
    house.promote(house.add(name, 0.8, seed=101), name)
    return name


def aliases(house: House, model: str) -> dict[str, str]:
    return {name: str(version) for name, version in house.client.get_registered_model(model).aliases.items()}


def predictions_of(house: House, model: str, version: str) -> Path:
    run = house.client.get_run(str(house.client.get_model_version(model, version).run_id))
    return Path(str(run.info.artifact_uri).removeprefix("file://")) / "predictions" / "test.csv"


@pytest.mark.parametrize("removed", ["alias", "version", "model"])
def test_the_next_run_does_not_take_a_removed_champion_s_place(house: House, model: str, removed: str) -> None:
    """It was not compared with anything."""
    if removed == "alias":
        house.client.delete_registered_model_alias(model, "champion")
    elif removed == "version":
        house.client.delete_model_version(model, "2")
    else:
        house.client.delete_registered_model(model)

    version = house.add(model, 0.1, seed=1)

    assert aliases(house, model) == {"challenger": version}
    with pytest.raises(PromotionRefusedError, match="BMA" if removed == "alias" else "failed: comparison"):
        house.promote(version, model)


def test_a_version_is_compared_with_the_last_champion_where_only_its_alias_is_gone(house: House, model: str) -> None:
    """The log knows it; and it may itself be champion again."""
    house.client.delete_registered_model_alias(model, "champion")
    better = house.add(model, 0.95, seed=2)

    house.promote("2", model)
    house.client.delete_registered_model_alias(model, "champion")
    house.promote(better, model)

    assert house.champion(model) == better
    gates = {gate["name"]: gate["sentence"] for gate in house.log.changes(model)[-1].gates}
    assert "of version 2 on 320 images" in gates["BMA"]


def test_with_the_champion_s_version_gone_a_promotion_needs_an_override_or_a_rollback(house: House, model: str) -> None:
    """Then it is compared with the one before."""
    house.client.delete_model_version(model, "2")
    third = house.add(model, 0.7, seed=3)

    with pytest.raises(PromotionRefusedError) as caught:
        house.promote(third, model)
    assert "version 2, the last champion, is not registered any more" in caught.value.gates[-1].sentence
    house.rollback(model)
    assert house.champion(model) == "1"
    house.promote(third, model)
    assert house.champion(model) == third


@pytest.mark.parametrize("has_champion", [True, False])
def test_a_new_workspace_takes_over_nothing_at_a_team_s_server(
    house: House, model: str, tiny: Bundle, tmp_path: Path, has_champion: bool
) -> None:
    """Its log is empty."""
    if not has_champion:
        house.client.delete_registered_model_alias(model, "champion")
    mine = House(Workspace(tmp_path / "mine"), tiny, house.uri)

    version = mine.add(model, 0.1, seed=4)

    assert aliases(house, model).get("champion") == ("2" if has_champion else None)
    with pytest.raises(PromotionRefusedError, match="BMA" if has_champion else "comparison"):
        mine.promote(version, model)
    mine.promote(version, model, override=True, why="we all agreed")
    assert house.champion(model) == version


def test_a_rollback_steps_over_a_version_that_is_gone(house: House, model: str) -> None:
    """And does not return to one that was left by a rollback, whatever happened to its target since."""
    house.promote(house.add(model, 0.9, seed=5), model)
    house.client.delete_model_version(model, "2")
    house.rollback(model)
    assert house.champion(model) == "1"

    for seed in (6, 7):
        house.promote(house.add(model, 0.9, seed=seed), model)
    house.rollback(model)
    assert house.champion(model) == "4"
    house.client.delete_model_version(model, "4")
    house.rollback(model)
    assert house.champion(model) == "1"


def test_servers_with_other_numbers_are_no_way_back(
    house: House, model: str, tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One log holds the changes of both, and the second server never had a version 3."""
    monkeypatch.chdir(tmp_path)  # where MLflow keeps the files of a database that is not the workspace's own
    elsewhere = House(house.workspace, tiny, f"sqlite:///{tmp_path / 'elsewhere.db'}")
    elsewhere.add(model, 0.6, seed=8)
    elsewhere.promote(elsewhere.add(model, 0.9, seed=9), model)
    house.promote(house.add(model, 0.9, seed=10), model)

    elsewhere.rollback(model)
    house.rollback(model)

    assert (house.champion(model), elsewhere.champion(model)) == ("2", "1")


@pytest.mark.parametrize("of", ["champion", "candidate"])
def test_lost_predictions_fail_the_comparison_and_nothing_else(house: House, model: str, of: str) -> None:
    """An override goes on without it, and a rollback needs none."""
    third = house.add(model, 0.9, seed=11)
    predictions_of(house, model, "2" if of == "champion" else third).unlink()

    with pytest.raises(PromotionRefusedError, match=r"failed: comparison\. Override it") as caught:
        house.promote(third, model)
    sentence = caught.value.gates[-1].sentence
    assert f"of version {'2' if of == 'champion' else third} the predictions on part 'test' cannot be used" in sentence
    assert "lesion-train mlflow" not in sentence
    house.promote(third, model, override=True, why="the disk was cleaned")
    house.rollback(model)

    assert house.champion(model) == "2"


def test_a_move_that_the_log_could_not_note_is_not_called_undone(
    house: House, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither by the error nor by the list; the next change notes it."""
    third = house.add(model, 0.9, seed=12)
    original = MlflowClient.set_registered_model_alias

    def rename(before: str, after: str) -> None:
        with sqlite3.connect(house.workspace.promotions) as connection:
            connection.execute(f"ALTER TABLE {before} RENAME TO {after}")

    def move(self: MlflowClient, name: str, alias: str, version: str) -> None:
        original(self, name, alias, version)
        rename("outcome", "away")

    def listed() -> str:
        monkeypatch.setattr("sys.argv", ["lesion-train", "promotions", "--name", model])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().out.splitlines()[2]

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", move)
        with pytest.raises(LesionError) as caught:
            house.promote(third, model)
    rename("away", "outcome")

    assert caught.value.message.startswith(f"The champion of {model} is version {third} now. The promotion log")
    assert "not touched" not in caught.value.message
    assert house.champion(model) == third
    monkeypatch.setenv("LESION_HOME", str(house.workspace.root))
    assert "[OUTCOME NOT NOTED]" in listed()
    house.add(model, 0.9, seed=13)
    assert "NOT" not in listed()


@pytest.mark.parametrize("arguments", [("promote", "1"), ("rollback",), ("compare", "1", "2")])
def test_where_nothing_was_registered_no_database_is_made(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow would make an empty one, and take its time."""
    monkeypatch.setenv("LESION_HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["lesion-train", *arguments])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert "Nothing was registered at sqlite:///" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
