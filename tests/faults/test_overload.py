"""Five times as many requests as can be answered: some are answered in time, the others are told so at once."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from lesion_core.preprocess_spec import Views
from lesion_core.processes import free_port
from support.asking_clients import ENGINE_IS_BUSY, AskingClients, clinicians
from support.bundles import make_tiny_bundle, with_views
from support.gateway_programs import GatewayProgram, running_gateway
from support.images import encoded_lesion
from support.load import ask_at_rate

TIMES = 5
SECONDS = 6.0
CLIENTS = 8
# The requirement for the 99th percentiles is 2 s and 100 ms on a machine that does nothing else: benchmarks/serving.py.
# Here the clients, and other tests, run on the same cores: medians are judged, and with a margin.
ANSWERED_S, REFUSED_S = 2.0, 0.1
SLOW_MACHINE = 3


def answers_a_second(gateway: GatewayProgram) -> float:
    """What it can do: as many as it wants to take on, without a pause."""
    with AskingClients(gateway, CLIENTS) as clients:
        time.sleep(SECONDS)
    assert clients.failures == []
    return clients.answered / SECONDS


def test_under_overload_answers_come_in_time_and_refusals_at_once(tmp_path: Path) -> None:
    """Nothing but predictions, and the gateway's own word when to come again."""
    # Eight views of each image: so few answers a second that the clients of this test are no load beside them.
    bundle = with_views(make_tiny_bundle(tmp_path / "tiny"), tmp_path / "bundle", Views.FLIPS_AND_ROTATIONS)
    options = ("--torchserve-port", str(free_port()))
    with running_gateway(tmp_path, bundle.folder, free_port(), *options, engine="torchserve") as gateway:
        rate = answers_a_second(gateway)
        keys = clinicians(gateway, CLIENTS)
        timed = ask_at_rate(gateway.endpoint.url, encoded_lesion(), keys, a_second=TIMES * rate, seconds=SECONDS)

    answered = [one.seconds for one in timed if one.answer.status_code == 200]
    refused = [one for one in timed if one.is_refused]
    assert len(answered) + len(refused) == len(timed), {one.answer.text for one in timed if not one.answer.is_success}
    assert len(refused) > len(timed) / 2, "that was no overload"
    assert len(answered) > rate, "nor may it answer nobody"
    for one in refused:
        assert int(one.answer.headers["retry-after"]) >= 1
        assert one.answer.json()["detail"] != ENGINE_IS_BUSY
    for what, seconds, limit_s in (
        ("answered", answered, ANSWERED_S),
        ("refused", [one.seconds for one in refused], REFUSED_S),
    ):
        median_s, most_s = np.percentile(seconds, (50, 99))
        print(f"{len(seconds)} {what}: median {1000 * median_s:.0f} ms, 99th percentile {1000 * most_s:.0f} ms")
        assert median_s < limit_s * SLOW_MACHINE
