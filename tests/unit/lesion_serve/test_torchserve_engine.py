"""How TorchServe is started, without starting it; ``tests/contract/test_serving.py`` starts it."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from lesion_core.errors import LesionError, PortTakenError
from lesion_core.processes import free_port
from lesion_serve.engine.torchserve import (
    FOLDER_PREFIX,
    TorchServeSettings,
    _check_ports,
    _command,
    _load_failure,
    _other_ports,
    _own,
    _remove_abandoned_folders,
)


def test_only_folders_whose_owner_is_gone_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance that runs, and folders that are not ours, stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    running, abandoned, foreign = (tmp_path / f"{FOLDER_PREFIX}{name}" for name in ("running", "abandoned", "foreign"))
    for folder in (running, abandoned, foreign):
        folder.mkdir()
    lock = _own(running)
    os.close(_own(abandoned))

    _remove_abandoned_folders()

    assert {path.name for path in tmp_path.iterdir()} == {running.name, foreign.name}
    os.close(lock)


def test_settings_of_the_shell_do_not_reach_torchserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TS_CONFIG_FILE alone would replace the whole configuration."""
    for name in ("TS_CONFIG_FILE", "TS_DISABLE_TOKEN_AUTHORIZATION", "LOG_LOCATION"):
        monkeypatch.setenv(name, "x")

    command = _command(Path("/usr/bin/java"), tmp_path)

    removed = [command[place + 1] for place, word in enumerate(command) if word == "-u"]
    assert {"TS_CONFIG_FILE", "TS_DISABLE_TOKEN_AUTHORIZATION", "LOG_LOCATION"} <= set(removed)
    assert command[0] == "env"


def test_the_reason_of_a_failed_load_is_read_from_the_log() -> None:
    """One death without a reason may be bad luck; a second one is not."""
    prefix = "2026-01-01T00:00:00,000 [INFO ] W-9000-skin_vit_5"
    died = f"{prefix} org.pytorch.serve.wlm.BatchAggregator - Load model failed: skin_vit, error: Worker died.\n"
    trace = f"{prefix}-stdout MODEL_LOG - ModuleNotFoundError: No module named 'timm'\n"
    told = f"{prefix}-stdout MODEL_LOG - Failed to load model skin_vit, exception BundleError: it was altered.\n"

    assert _load_failure(died + trace) is None
    assert _load_failure((died + trace) * 2) == "ModuleNotFoundError: No module named 'timm'"
    assert _load_failure(died * 2) == "its process died."
    assert _load_failure(told + trace) == "BundleError: it was altered."


def test_a_taken_port_names_the_option_that_changes_it() -> None:
    """Each port has its own."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for settings, option in (
            (TorchServeSettings(port=port), "--port"),
            (TorchServeSettings(port=free_port(), management_port=port), "--management-port"),
            (TorchServeSettings(port=free_port(), metrics_port=port), "--metrics-port"),
        ):
            with pytest.raises(PortTakenError) as caught:
                _check_ports(settings)
            assert caught.value.option == option


def test_one_port_cannot_serve_two_purposes() -> None:
    """TorchServe would put its management address where predictions are asked for."""
    port = free_port()

    with pytest.raises(LesionError, match="--port and --management-port are both"):
        _check_ports(TorchServeSettings(port=port, management_port=port))


def test_the_other_ports_are_all_different() -> None:
    """And those that were named are kept."""
    settings = TorchServeSettings(port=1, management_port=2)

    management, *others = _other_ports(settings)

    assert management == 2
    assert len({1, 2, *others}) == 5
