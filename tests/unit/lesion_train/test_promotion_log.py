"""The log of who made which version champion: it only grows, and tells the way back."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from lesion_core.errors import LesionError
from lesion_train.promotion_log import Action, Promotion, PromotionLog, champions_before


def test_the_log_takes_no_change_and_no_removal(tmp_path: Path) -> None:
    """Not even by SQL; what is written stays."""
    log = PromotionLog(tmp_path / "promotions.db")
    log.close(log.plan(change("1", None)), "done")

    with sqlite3.connect(tmp_path / "promotions.db") as connection:
        for statement in (
            "UPDATE promotion SET why = 'x'",
            "DELETE FROM promotion",
            "UPDATE outcome SET outcome = 'x'",
            "DELETE FROM outcome",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="only appended to"):
                connection.execute(statement)
    with pytest.raises(LesionError, match="promotion log") as caught:
        log.close(1, "abandoned")
    assert caught.value.code == "log_failed"


def change(to: str, before: str | None, action: Action = Action.PROMOTE, outcome: str | None = "done") -> Promotion:
    return Promotion(
        action=action,
        model="skin-lesion",
        tracking_uri="sqlite:///x",
        from_version=before,
        to_version=to,
        to_digest=to * 64,
        why="a reason",
        outcome=outcome,
    )


@pytest.mark.parametrize(
    ("changes", "current", "expected"),
    [
        ([], None, []),
        ([change("1", None)], "1", []),
        ([change("1", None), change("2", "1"), change("3", "2")], "3", ["2", "1"]),
        ([change("1", None), change("2", "1"), change("1", "2", Action.ROLLBACK)], "1", []),
        ([change("1", None), change("2", "1", outcome="abandoned")], "1", []),
        ([change("1", None), change("3", None), change("2", "3", Action.ROLLBACK)], "2", ["1"]),
        ([change("1", None), change("3", "2")], "3", ["2", "1"]),
        ([change("1", None), change("2", "1")], "9", ["2", "1"]),
    ],
)
def test_earlier_champions_come_latest_first(
    changes: list[Promotion], current: str | None, expected: list[str]
) -> None:
    """Rollbacks are taken back, what never happened does not count, and moves by other means do."""
    assert [item.to_version for item in champions_before(changes, current)] == expected
