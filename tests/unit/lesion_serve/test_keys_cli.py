"""API keys from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from lesion_core.processes import child_environment


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lesion_serve", "keys", *arguments],
        env=child_environment({"LESION_HOME": str(home)}),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_key_is_made_shown_once_listed_and_revoked(tmp_path: Path) -> None:
    """The secret is nowhere but in the first output."""
    made = run(tmp_path, "create", "Ward 3", "--role", "clinician", "--valid-days", "30")
    key = made.stdout.strip()
    key_id, secret = key.split("_", 2)[1:]
    listed = run(tmp_path, "list", "--json")
    revoked = run(tmp_path, "revoke", key_id, "--json")

    assert [done.returncode for done in (made, listed, revoked)] == [0, 0, 0], made.stderr + listed.stderr
    (row,) = json.loads(listed.stdout)
    assert (row["id"], row["name"], row["role"], row["is_valid"]) == (key_id, "Ward 3", "clinician", True)
    assert json.loads(revoked.stdout)["id"] == key_id
    assert "revoked" in run(tmp_path, "list").stdout
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_text()]
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0


def test_what_cannot_be_done_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    """A second key under one name, a key that is not there, a role that is not one."""
    run(tmp_path, "create", "Ward 3", "--role", "clinician")
    twice = run(tmp_path, "create", "Ward 3", "--role", "auditor")
    unknown = run(tmp_path, "revoke", "12345678")
    no_role = run(tmp_path, "create", "Ward 4", "--role", "king")

    assert [done.returncode for done in (twice, unknown, no_role)] == [2, 2, 2]
    assert "There is a valid key for 'Ward 3'" in twice.stderr
    assert "Known: " in unknown.stderr
    assert "auditor" in no_role.stderr
