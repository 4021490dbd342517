"""Hostile files through the gateway and TorchServe: refused one by one, and nothing behind the gateway is hurt."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx

from lesion_core.processes import free_port
from support.asking_clients import clinicians
from support.gateway_programs import running_gateway
from support.hostile import hostile_files
from support.images import encoded_lesion
from support.onnx_bundles import make_onnx_bundle

# LESION_HOSTILE_FILES=10000 for all that test_hostile_images.py decodes. Those made by hand, each for one attack, come
# first; all others are random changes of files.
FILES = int(os.environ.get("LESION_HOSTILE_FILES", "1200"))
# As many clients as workers: none of them ever waits, so that the gateway has no reason to put one off.
WORKERS = 2


class Corpus:
    """Files for several threads."""

    def __init__(self) -> None:
        self._files = hostile_files(seed=0, count=FILES)
        self._turn = threading.Lock()

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        while True:
            with self._turn:
                if (file := next(self._files, None)) is None:
                    return
            yield file


def test_hostile_files_are_answered_or_refused_and_kill_no_worker(tmp_path: Path) -> None:
    """No status from 500 on, every kind of refusal, and the same processes before and after."""
    outcomes, broken, corpus = Counter[str](), list[str](), Corpus()
    options = ("--workers", str(WORKERS), "--torchserve-port", str(free_port()))
    bundle = make_onnx_bundle(tmp_path / "bundle")
    with running_gateway(tmp_path, bundle.folder, free_port(), *options, engine="torchserve") as gateway:
        url = gateway.endpoint.url
        before = {one.pid for one in gateway.family("")}

        def ask(key: str) -> None:
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/octet-stream"}
            with httpx.Client(trust_env=False, timeout=120, headers=headers) as client:
                for name, data in corpus:
                    try:
                        answer = client.post(url, content=data)
                    except httpx.HTTPError as error:
                        broken.append(f"{name}: {error!r}")
                        continue
                    code = "image" if answer.status_code == 200 else answer.json()["code"]
                    outcomes[code] += 1
                    if answer.status_code != 200 and not 400 <= answer.status_code < 500:
                        broken.append(f"{name}: {answer.status_code} {answer.text}")

        threads = [threading.Thread(target=ask, args=(key,)) for key in clinicians(gateway, WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = {one.pid for one in gateway.family("")}
        healthy = httpx.post(url, content=encoded_lesion(), headers=gateway.headers, trust_env=False, timeout=60)

    print(dict(outcomes))
    assert broken == []
    assert sum(outcomes.values()) == FILES
    assert {
        *("image", "empty_body", "unsupported_format", "unsupported_encoding", "too_many_bytes", "too_many_pixels"),
        *("too_small", "animated", "several_images", "corrupt_image"),
    } == set(outcomes)
    assert healthy.status_code == 200
    assert before == after
