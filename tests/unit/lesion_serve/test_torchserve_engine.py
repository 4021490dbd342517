"""How TorchServe is started, without starting it; ``tests/integration/test_serving.py`` starts it."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import attrs
import pytest

from lesion_core.errors import LesionError, PortTakenError
from lesion_core.processes import free_port
from lesion_core.wire import Prediction
from lesion_serve.engine.engine import EngineDownError
from lesion_serve.engine.torchserve import TorchServeEngine
from lesion_serve.engine.torchserve_client import PredictionClient
from lesion_serve.engine.torchserve_instance import TorchServeInstance, load_failure
from lesion_serve.engine.torchserve_layout import (
    FOLDER_PREFIX,
    TorchServeSettings,
    check_ports,
    choose_ports,
    inherited_environment,
    own,
    remove_abandoned_folders,
)
from lesion_serve.engine.torchserve_watch import VersionWatch
from support.deployments import deployed, described
from support.fake_service import make_prediction


def test_only_folders_whose_owner_is_gone_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance that runs, and folders that are not ours, stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    running, abandoned, foreign = (tmp_path / f"{FOLDER_PREFIX}{name}" for name in ("running", "abandoned", "foreign"))
    for folder in (running, abandoned, foreign):
        folder.mkdir()
    lock = own(running)
    os.close(own(abandoned))

    remove_abandoned_folders()

    assert {path.name for path in tmp_path.iterdir()} == {running.name, foreign.name}
    os.close(lock)


def test_secrets_and_settings_of_the_shell_do_not_reach_torchserve() -> None:
    """TS_CONFIG_FILE alone would replace the whole configuration; what is not listed is a secret."""
    wanted = {"PATH": "/bin", "HOME": "/home/x", "LC_ALL": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "0"}
    kept_back = {
        *("TS_CONFIG_FILE", "TS_DISABLE_TOKEN_AUTHORIZATION", "LOG_LOCATION", "SM_TELEMETRY_LOG", "PYTHONSTARTUP"),
        *("AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "MLFLOW_TRACKING_PASSWORD", "LESION_GATEWAY_KEY", "HF_TOKEN"),
    }

    assert inherited_environment({**wanted, **dict.fromkeys(kept_back, "x")}) == wanted


def test_the_reason_of_a_failed_load_is_read_from_the_log() -> None:
    """One death without a reason may be bad luck; a second one is not."""
    prefix = "2026-01-01T00:00:00,000 [INFO ] W-9000-skin_vit_5"
    died = f"{prefix} org.pytorch.serve.wlm.BatchAggregator - Load model failed: skin_vit, error: Worker died.\n"
    trace = f"{prefix}-stdout MODEL_LOG - ModuleNotFoundError: No module named 'timm'\n"
    told = f"{prefix}-stdout MODEL_LOG - Failed to load model skin_vit, exception BundleError: it was altered.\n"

    ours = "skin_vit", "5"
    assert load_failure(died + trace, *ours) is None
    assert load_failure((died + trace) * 2, *ours) == "ModuleNotFoundError: No module named 'timm'"
    assert load_failure(died * 2, *ours) == "its process died."
    assert load_failure(told + trace, *ours) == "BundleError: it was altered."


def test_a_taken_port_names_the_option_that_changes_it() -> None:
    """Each port has its own."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for settings, option in (
            (TorchServeSettings(port=port), "--torchserve-port"),
            (TorchServeSettings(port=free_port(), management_port=port), "--management-port"),
            (TorchServeSettings(port=free_port(), metrics_port=port), "--metrics-port"),
        ):
            with pytest.raises(PortTakenError) as caught:
                check_ports(settings)
            assert caught.value.option == option


def test_one_port_cannot_serve_two_purposes() -> None:
    """TorchServe would put its management address where predictions are asked for."""
    port = free_port()

    with pytest.raises(LesionError, match=r"^--torchserve-port and --management-port are both"):
        check_ports(TorchServeSettings(port=port, management_port=port))


def test_a_version_is_not_unloaded_under_a_request_that_has_just_found_it() -> None:
    """Whoever was looked up is answered; the version goes after that."""
    unregistered = threading.Event()

    class Management:
        def unregister(self, name: str, version: str) -> None:
            unregistered.set()

    class Client:
        was_there = False

        async def predict(self, *_: object, **__: object) -> Prediction:
            self.was_there = not unregistered.wait(0.2)
            return make_prediction()

    engine = TorchServeEngine(
        cast(
            TorchServeInstance, SimpleNamespace(management=Management(), ports=SimpleNamespace(inference=1), token="")
        ),
        TorchServeSettings(port=1, workers=1),
    )
    unloading = threading.Thread(target=engine.unload, args=("2",))

    class Loaded(dict[str, VersionWatch]):
        def get(self, version: str, default: object = None) -> Any:
            found = super().get(version)
            unloading.start()  # between the look and the question
            while "2" in engine._loaded:
                time.sleep(0.001)
            return found

    client = Client()
    engine._client = cast(PredictionClient, client)
    engine._loaded = Loaded({"2": VersionWatch(described(deployed("2")), wanted=1, stuck_after_s=60)})
    asyncio.run(engine.predict(b"", request_id="r", timeout_s=5, version="2"))
    unloading.join()

    assert client.was_there
    assert unregistered.is_set()


def test_a_version_whose_workers_could_not_be_ended_is_there_for_the_next_try() -> None:
    """Who forgot it would never end them, and they keep their memory."""

    class Management:
        answers: ClassVar[list[Exception | None]] = [EngineDownError("TorchServe does not answer."), None]

        def unregister(self, name: str, version: str) -> None:
            if (error := self.answers.pop(0)) is not None:
                raise error

    engine = TorchServeEngine(
        cast(TorchServeInstance, SimpleNamespace(management=Management())), TorchServeSettings(port=1, workers=1)
    )
    engine._loaded = {"2": VersionWatch(described(deployed("2")), wanted=1, stuck_after_s=60)}

    with pytest.raises(EngineDownError):
        engine.unload("2")
    assert [one.version for one in engine.versions()] == ["2"]

    engine.unload("2")
    assert engine.versions() == ()
    assert Management.answers == []


def test_what_befalls_another_version_is_not_ours() -> None:
    """Their workers write into the same log."""
    told = " W-9000-skin_vit_{}-stdout MODEL_LOG - Failed to load model skin_vit, exception BundleError: altered.\n"
    log = "".join(told.format(version) for version in ("51", "5.1", "5-stdx", "15", "unregistered-5"))

    assert load_failure(log, "skin_vit", "5") is None
    assert load_failure(log, "skin_vit", "5.1") == "BundleError: altered."


def test_the_ports_are_all_different() -> None:
    """And those that were named are kept."""
    ports = choose_ports(TorchServeSettings(port=1, management_port=2))

    assert (ports.inference, ports.management) == (1, 2)
    assert len(set(attrs.astuple(ports))) == 5
