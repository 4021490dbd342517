"""API keys: made once, kept as hashes, ended for good."""

from __future__ import annotations

import multiprocessing
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_serve.gateway import keys as module
from lesion_serve.gateway.keys import PERMISSIONS, AccessError, ApiKeys, Permission, Role


def test_a_key_stands_for_its_owner_and_role(tmp_path: Path) -> None:
    """Also for an object that was there before it was made: a gateway need not be started anew."""
    gateways, commands = ApiKeys(tmp_path / "keys.json"), ApiKeys(tmp_path / "keys.json")
    with pytest.raises(AccessError) as refused:
        gateways.authenticate("Bearer lesion_0123abcd_" + "x" * 43)

    key = commands.create("Dr. Ada", Role.CLINICIAN)
    principal = gateways.authenticate(f"Bearer {key}")

    assert refused.value.code == "bad_key"
    assert (principal.name, principal.role) == ("Dr. Ada", Role.CLINICIAN)
    assert principal.key_id in key


def test_the_file_does_not_hold_the_secret_and_is_the_owners_alone(tmp_path: Path) -> None:
    """Whoever reads a backup must not be able to ask for predictions."""
    path = tmp_path / "keys.json"

    secret = ApiKeys(path).create("app", Role.CLINICIAN).split("_", 2)[2]

    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Basic YTpi"])
def test_a_request_without_a_key_is_told_how_to_send_one(header: str | None, tmp_path: Path) -> None:
    """Another scheme than ours counts as none."""
    with pytest.raises(AccessError, match="Authorization: Bearer") as refused:
        ApiKeys(tmp_path / "keys.json").authenticate(header)

    assert refused.value.code == "no_key"


def test_a_changed_letter_makes_a_key_invalid(tmp_path: Path) -> None:
    """Of the id as well as of the secret."""
    keys = ApiKeys(tmp_path / "keys.json")
    key = keys.create("app", Role.CLINICIAN)
    start = len("lesion_")

    for place in range(start, len(key)):
        if key[place] == "_":
            continue
        other = key[:place] + ("a" if key[place] != "a" else "b") + key[place + 1 :]
        with pytest.raises(AccessError) as refused:
            keys.authenticate(f"Bearer {other}")
        assert refused.value.code == "bad_key"


@given(header=st.text(max_size=80))
def test_any_header_is_answered_with_a_named_error(header: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Strangers send what they like."""
    with pytest.raises(AccessError):
        ApiKeys(tmp_path_factory.getbasetemp() / "no-keys.json").authenticate(header)


def test_a_revoked_key_is_refused_at_once_and_stays_listed(tmp_path: Path) -> None:
    """The records of what it asked for have to keep a name."""
    keys = ApiKeys(tmp_path / "keys.json")
    key = keys.create("app", Role.ENGINEER)
    (made,) = keys.all()

    first, second = (ApiKeys(tmp_path / "keys.json").revoke(made.id) for _ in range(2))

    assert first.revoked_at == second.revoked_at is not None
    assert keys.all() == (first,)
    with pytest.raises(AccessError):
        keys.authenticate(f"Bearer {key}")


def test_a_key_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the days that were given to it, not before."""
    keys = ApiKeys(tmp_path / "keys.json")
    key = keys.create("visitor", Role.CLINICIAN, valid_days=2)
    made = datetime.now(UTC)

    class Later(datetime):
        days = 0.0

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(made.timestamp() + 86_400 * cls.days, UTC)

    monkeypatch.setattr(module, "datetime", Later)
    Later.days = 1.99
    keys.authenticate(f"Bearer {key}")
    Later.days = 2.01

    with pytest.raises(AccessError):
        keys.authenticate(f"Bearer {key}")


@pytest.mark.parametrize("days", [5_000_000, 10**12])
def test_a_key_that_outlasts_the_calendar_is_refused(days: int, tmp_path: Path) -> None:
    """With what is possible, and nothing is written."""
    keys = ApiKeys(tmp_path / "keys.json")

    with pytest.raises(AccessError, match=r"\d{7} are possible, up to the year 9999") as refused:
        keys.create("Ward 3", Role.CLINICIAN, valid_days=days)
    assert refused.value.code == "bad_validity"
    assert not (tmp_path / "keys.json").exists()


def test_a_name_has_one_valid_key(tmp_path: Path) -> None:
    """Else records could not tell two people apart; after revocation the name is free again."""
    keys = ApiKeys(tmp_path / "keys.json")
    keys.create("app", Role.CLINICIAN)

    with pytest.raises(AccessError, match="valid key for 'app'") as twice:
        keys.create(" app ", Role.CLINICIAN)
    with pytest.raises(AccessError) as nobody:
        keys.create("  ", Role.CLINICIAN)
    keys.revoke(keys.all()[0].id)
    keys.create("app", Role.CLINICIAN)

    assert twice.value.code == nobody.value.code == "bad_name"


def test_a_key_that_is_not_there_cannot_be_revoked(tmp_path: Path) -> None:
    """The error lists those that are."""
    keys = ApiKeys(tmp_path / "keys.json")
    keys.create("app", Role.CLINICIAN)

    with pytest.raises(AccessError, match=r"\(app\)"):
        keys.revoke("00000000")


def test_a_damaged_file_is_named_and_not_overwritten(tmp_path: Path) -> None:
    """Making a key must not make the others disappear."""
    path = tmp_path / "keys.json"
    path.write_text('[{"id": 1')

    with pytest.raises(AccessError, match="not a file of API keys"):
        ApiKeys(path).create("app", Role.CLINICIAN)

    assert path.read_text() == '[{"id": 1'


def test_keys_made_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    """By four processes."""
    path = tmp_path / "keys.json"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        made = pool.starmap(_make, [(path, f"program {number}") for number in range(12)])

    keys = ApiKeys(path)
    assert {keys.authenticate(f"Bearer {key}").name for key in made} == {f"program {n}" for n in range(12)}


def _make(path: Path, name: str) -> str:
    return ApiKeys(path).create(name, Role.CLINICIAN)


def test_who_audits_predictions_makes_none() -> None:
    """And only who audits reads those of others."""
    assert Permission.PREDICT not in PERMISSIONS[Role.AUDITOR]
    assert [role for role in Role if Permission.READ_ALL in PERMISSIONS[role]] == [Role.AUDITOR]
