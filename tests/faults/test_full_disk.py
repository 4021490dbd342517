"""The disk of the prediction store is full while clients ask: no answer leaves that is not written down."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from lesion_core.processes import free_port
from support import small_disks
from support.gateway_programs import GatewayProgram, run_command, running_gateway
from support.images import encoded_lesion
from support.onnx_bundles import make_onnx_bundle

CLIENTS = 4
REQUESTS = 60  # while the disk has space, and again while it has none, and when it has some again


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_onnx_bundle(tmp_path_factory.mktemp("bundle") / "bundle").folder


def outcomes(gateway: GatewayProgram, phase: str) -> dict[str, str]:
    """What became of each request, by its id: ``answered``, or the problem's code."""

    def ask(number: int) -> tuple[str, str]:
        request_id = f"{phase}-{number:04}"
        headers = {**gateway.headers, "X-Request-ID": request_id}
        answer = httpx.post(
            gateway.endpoint.url, content=encoded_lesion(), headers=headers, trust_env=False, timeout=60
        )
        if answer.status_code != 200:
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
        return request_id, "answered" if answer.status_code == 200 else answer.json()["code"]

    with ThreadPoolExecutor(CLIENTS) as pool:
        return dict(pool.map(ask, range(REQUESTS)))


@pytest.mark.parametrize("kind", small_disks.KINDS)
def test_no_answer_leaves_that_a_full_disk_did_not_take(kind: str, bundle: Path, tmp_path: Path) -> None:
    """Answers are withheld while it is full, and come again when it is not; what is in the store is what left."""
    (folder := tmp_path / "disk").mkdir()
    disk = small_disks.KINDS[kind](folder)
    options = ("--store", f"sqlite:///{folder / 'predictions.db'}", "--anchors", str(folder / "heads.jsonl"))
    with running_gateway(tmp_path, bundle, free_port(), *options, through=disk.through) as gateway:
        program = gateway.process.pid
        before = outcomes(gateway, "before")
        disk.fill(program)
        full = outcomes(gateway, "full")
        disk.free(program)
        after = outcomes(gateway, "after")

        # SQLite would take the way into another program's files for one into ours; nobody writes at the moment.
        copy = shutil.copytree(disk.seen_by(program), tmp_path / "copy", ignore=shutil.ignore_patterns("*-shm"))

    with sqlite3.connect(copy / "predictions.db") as connection:
        kept = {row[0] for row in connection.execute("SELECT request_id FROM event WHERE kind = 'prediction'")}
    connection.close()
    store = ("--store", f"sqlite:///{copy / 'predictions.db'}", "--anchors", str(copy / "heads.jsonl"))
    verified = run_command(tmp_path, "audit", "verify", *store)
    everything = {**before, **full, **after}
    assert set(before.values()) == {"answered"}
    assert Counter(full.values())["not_recorded"] > REQUESTS / 2, Counter(full.values())
    assert set(after.values()) == {"answered"}
    assert kept == {request_id for request_id, outcome in everything.items() if outcome == "answered"}
    assert set(everything.values()) == {"answered", "not_recorded"}
    assert verified.returncode == 0, verified.stdout + verified.stderr
