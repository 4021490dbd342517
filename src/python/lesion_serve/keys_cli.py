"""API keys of the gateway: ``lesion-serve keys create``, ``list`` and ``revoke``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import App

from lesion_core.workspace import Workspace
from lesion_serve.options import AsJson, AtLeastOne

if TYPE_CHECKING:
    from lesion_serve.gateway.keys import ApiKey, ApiKeys

keys = App(name="keys", help="API keys of the gateway: who may ask it for what.", help_format="plaintext")


@keys.command
def create(
    name: str,
    *,
    role: Literal["clinician", "engineer", "auditor"],
    valid_days: AtLeastOne | None = None,
    keys_file: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once: nobody can show it again. A running gateway takes it at once.

    Example: lesion-serve keys create 'Ward 3' --role clinician --valid-days 365

    Parameters
    ----------
    name
        Of the person or program that it is for.
    role
        clinician: asks, reads its own predictions, gives feedback. engineer: asks, reads metrics,
        promotes versions and rolls back. auditor: reads all predictions and metrics, and asks nothing.
    valid_days
        After that it ends by itself; without it, it is valid until it is revoked.
    keys_file
        Of the gateway; keys.json in .lesion by default.
    as_json
        Print as JSON.
    """
    from lesion_serve.gateway.keys import Role

    key = _keys(keys_file).create(name, Role(role), valid_days=valid_days)
    print(json.dumps({"name": name, "role": role, "key": key}) if as_json else key)


@keys.command(name="list")
def list_keys(*, keys_file: Path | None = None, as_json: AsJson = False) -> None:
    """Show all keys that were ever made, without their secrets.

    Parameters
    ----------
    keys_file
        Of the gateway; keys.json in .lesion by default.
    as_json
        Print as JSON.
    """
    found = _keys(keys_file).all()
    if as_json:
        rows = [{**_facts(key), "is_valid": _state(key) == "valid"} for key in found]
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for key in found:
        until = f", until {key.expires_at}" if key.expires_at else ""
        print(f"{key.id}  {key.role:9}  {_state(key):7}  {key.name}  (made {key.created_at}{until})")
    if not found:
        print("There are no keys yet. Make one: lesion-serve keys create NAME --role clinician")


@keys.command
def revoke(key_id: str, *, keys_file: Path | None = None, as_json: AsJson = False) -> None:
    """End a key, for good and at once.

    Parameters
    ----------
    key_id
        As 'lesion-serve keys list' shows it; also the second part of the key itself.
    keys_file
        Of the gateway; keys.json in .lesion by default.
    as_json
        Print as JSON.
    """
    key = _keys(keys_file).revoke(key_id)
    if as_json:
        print(json.dumps(_facts(key), ensure_ascii=False))
        return
    print(f"Revoked: {key.id} ({key.name}) since {key.revoked_at}.")


def _keys(path: Path | None) -> ApiKeys:
    from lesion_serve.gateway.keys import ApiKeys
    from lesion_serve.gateway.settings import keys_file

    return ApiKeys(path or keys_file(Workspace.default()))


def _facts(key: ApiKey) -> dict[str, str | None]:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role.value,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


def _state(key: ApiKey) -> str:
    from datetime import UTC, datetime

    if key.revoked_at is not None:
        return "revoked"
    return "valid" if key.is_valid(datetime.now(UTC)) else "expired"
