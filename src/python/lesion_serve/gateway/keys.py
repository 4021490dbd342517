"""API keys: who may ask the gateway for what.

A key is ``lesion_<id>_<secret>``. The file holds the SHA-256 of the secret, never the secret: it has 256 random bits,
so there is nothing to guess and a slow password hash would only slow down every request. Keys are made, listed and
revoked by a command; a running gateway sees the change with the next request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import attrs
import cattrs
from filelock import FileLock

from lesion_core.durable import FOR_OWNER, write_whole
from lesion_core.errors import LesionError

_KEY = re.compile(r"lesion_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_SECRET_BYTES = 32


class Role(StrEnum):
    """What a person or program is here for."""

    CLINICIAN = "clinician"
    ENGINEER = "engineer"
    AUDITOR = "auditor"


class Permission(StrEnum):
    """What a request does. ``READ_OWN`` is for what the same key has asked, ``READ_ALL`` for all."""

    PREDICT = "predict"
    READ_OWN = "read_own"
    READ_ALL = "read_all"
    FEEDBACK = "feedback"
    MODELS = "models"
    METRICS = "metrics"
    MONITOR = "monitor"
    DEPLOY = "deploy"


_EVERYBODY = {Permission.READ_OWN, Permission.MODELS, Permission.MONITOR}
PERMISSIONS = {
    Role.CLINICIAN: frozenset({*_EVERYBODY, Permission.PREDICT, Permission.FEEDBACK}),
    Role.ENGINEER: frozenset({*_EVERYBODY, Permission.PREDICT, Permission.METRICS, Permission.DEPLOY}),
    Role.AUDITOR: frozenset({*_EVERYBODY, Permission.READ_ALL, Permission.METRICS}),
}


class AccessError(LesionError):
    """A key that cannot be made, found or accepted.

    Codes: ``no_key``, ``bad_key`` (malformed, unknown, revoked or expired: a caller is not told which),
    ``bad_keys_file``, ``unknown_key``, ``bad_name`` and ``bad_validity`` (of the commands).
    """

    code = "bad_key"


@attrs.frozen(kw_only=True)
class Principal:
    """Who asks. ``key_id`` names the key in records and logs; it is no secret."""

    key_id: str
    name: str
    role: Role

    def may(self, permission: Permission) -> bool:
        """Whether the role allows it."""
        return permission in self.permissions

    @property
    def permissions(self) -> frozenset[Permission]:
        """Everything that the role allows."""
        return PERMISSIONS[self.role]


@attrs.frozen(kw_only=True)
class ApiKey:
    """One key as the file holds it. Times are ISO 8601, UTC; ``None`` where it never expires, or was not revoked."""

    id: str
    name: str
    role: Role
    secret_sha256: str
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None

    def is_valid(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < datetime.fromisoformat(self.expires_at))


LOCAL_PRINCIPAL = Principal(key_id="local", name="this machine", role=Role.CLINICIAN)


class ApiKeys:
    """The file of keys. Readers see each change at once; writers wait for each other."""

    def __init__(self, path: Path, *, local_token: str | None = None) -> None:
        """Use a file, which need not be there.

        Args:
            path: of the file.
            local_token: stands for ``LOCAL_PRINCIPAL``: the app of whoever started the gateway, which finds it in a
                file that only this user can read. It ends with the gateway.
        """
        self._path = path
        self._local_token = local_token
        self._stamp: tuple[int, int, int] | None = None
        self._by_id: dict[str, ApiKey] = {}

    def create(self, name: str, role: Role, *, valid_days: int | None = None) -> str:
        """Make a key for a person or program, and return it: nobody can show it a second time.

        Raises:
            AccessError: ``bad_name``: empty, or the name of another valid key; ``bad_validity``: longer than a calendar
                goes.
        """
        name = name.strip()
        if not name:
            raise AccessError("A key needs the name of the person or program that it is for.", code="bad_name")
        now = datetime.now(UTC)
        expires_at = _expiry(now, valid_days)
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        with self._changing() as keys:
            if any(key.name == name and key.is_valid(now) for key in keys.values()):
                raise AccessError(
                    f"There is a valid key for {name!r} already. Revoke it first, or choose another name.",
                    code="bad_name",
                )
            key_id = next(new for new in iter(lambda: secrets.token_hex(4), "") if new not in keys)
            keys[key_id] = ApiKey(
                id=key_id,
                name=name,
                role=role,
                secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
                created_at=now.isoformat(timespec="seconds"),
                expires_at=expires_at,
            )
        return f"lesion_{key_id}_{secret}"

    def revoke(self, key_id: str) -> ApiKey:
        """End a key for good; one that was revoked before stays as it is.

        Raises:
            AccessError: ``unknown_key``.
        """
        with self._changing() as keys:
            if key_id not in keys:
                known = ", ".join(f"{key.id} ({key.name})" for key in keys.values()) or "none"
                raise AccessError(f"No key has the id {key_id!r}. Known: {known}.", code="unknown_key")
            if keys[key_id].revoked_at is None:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                keys[key_id] = attrs.evolve(keys[key_id], revoked_at=now)
            return keys[key_id]

    def all(self) -> tuple[ApiKey, ...]:
        """Every key that was ever made, oldest first."""
        return tuple(sorted(self._current().values(), key=lambda key: (key.created_at, key.id)))

    def authenticate(self, authorization: str | None) -> Principal:
        """Who a request's ``Authorization`` header stands for.

        Raises:
            AccessError: ``no_key``, ``bad_key``.
        """
        scheme, _, value = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not value.strip():
            raise AccessError("Send your API key as header: 'Authorization: Bearer lesion_…'.", code="no_key")
        if self._local_token is not None and hmac.compare_digest(value.strip().encode(), self._local_token.encode()):
            return LOCAL_PRINCIPAL
        match = _KEY.fullmatch(value.strip())
        key = self._current().get(match[1]) if match else None
        # Compared even where the id is unknown, so that the time says nothing about which ids there are.
        digest = hashlib.sha256((match[2] if match else "").encode()).hexdigest()
        is_same = hmac.compare_digest(digest, key.secret_sha256 if key else "0" * 64)
        if key is None or not is_same or not key.is_valid(datetime.now(UTC)):
            raise AccessError("This API key is not valid (any more). Ask your engineer for another.", code="bad_key")
        return Principal(key_id=key.id, name=key.name, role=key.role)

    def _current(self) -> dict[str, ApiKey]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return {}
        stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        if stamp != self._stamp:
            self._by_id, self._stamp = self._read(), stamp
        return self._by_id

    def _read(self) -> dict[str, ApiKey]:
        if not self._path.is_file():
            return {}
        try:
            keys = cattrs.structure(json.loads(self._path.read_text()), list[ApiKey])
        except Exception as error:  # cattrs raises groups
            raise AccessError(
                f"{self._path} is not a file of API keys ({type(error).__name__}). Restore it from a backup, or remove "
                "it and make new keys: lesion-serve keys create NAME --role clinician",
                code="bad_keys_file",
            ) from error
        return {key.id: key for key in keys}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, ApiKey]]:
        """The keys, written back at the end: whole, for the owner's eyes, and on the disk before it returns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._path.with_suffix(".lock"), mode=0o600):
            keys = self._read()
            yield keys
            write_whole(self._path, json.dumps(cattrs.unstructure(list(keys.values())), indent=1), mode=FOR_OWNER)


def _expiry(now: datetime, valid_days: int | None) -> str | None:
    if not valid_days:
        return None
    try:
        return (now + timedelta(days=valid_days)).isoformat(timespec="seconds")
    except OverflowError as error:
        longest = (datetime.max.replace(tzinfo=UTC) - now).days
        raise AccessError(
            f"A key cannot be valid for {valid_days} days: {longest} are possible, up to the year 9999. Without a "
            "number of days it is valid until it is revoked.",
            code="bad_validity",
        ) from error
