"""The door of the app, as a process of its own."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from lesion_core.processes import ChildProcess, child_environment, free_port
from lesion_ui.cli import streamlit_options
from support.fake_service import TOKEN

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lesion_ui", *arguments],
        env={name: value for name, value in child_environment().items() if not name.startswith("LESION_")},
        capture_output=True,
        text=True,
        check=False,
    )


def handshake(port: int, host: str) -> int:
    """Status of opening the page's WebSocket under a name."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    try:
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        connection.request("GET", "/_stcore/stream", headers=upgrade | headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_help_names_every_option_and_loads_no_streamlit() -> None:
    """So it is there at once."""
    code = "import sys; sys.argv[1:] = ['--help']\nfrom lesion_ui.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\nprint('streamlit' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True, check=False
    )

    assert all(
        option in done.stdout
        for option in ("--port", "--endpoint-url", "--token-file", "--sign-in", "--idle-minutes", "Research use only")
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_a_taken_port_is_one_sentence() -> None:
    """With the option that changes it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = run("--port", str(other.getsockname()[1]))

    assert done.returncode == 2
    assert "choose another port with --port" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("content", [None, "", "two words"])
def test_a_bad_token_file_is_one_sentence(content: str | None, tmp_path: Path) -> None:
    """Missing, empty, or with more than a token."""
    path = tmp_path / "token.txt"
    if content is not None:
        path.write_text(content)
    done = run("--port", str(free_port()), "--token-file", str(path))

    assert done.returncode == 2
    assert str(path) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_token_is_for_an_address(tmp_path: Path) -> None:
    """Alone it is one sentence at the start."""
    path = tmp_path / "token.txt"
    path.write_text(TOKEN)
    alone = run("--port", str(free_port()), "--token-file", str(path))

    assert alone.returncode == 2
    assert "--endpoint-url" in alone.stderr


def test_the_app_answers_on_loopback_and_ends_cleanly(tmp_path: Path) -> None:
    """Its address is printed; SIGTERM is exit code 0; another site's name for us is refused."""
    token_file = tmp_path / "token.txt"
    token_file.write_text(f"{TOKEN}\n")
    port = free_port()
    options = ("--port", str(port), "--endpoint-url", "http://127.0.0.1:1/x", "--token-file", str(token_file))
    log_path = tmp_path / "app.log"
    with log_path.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "lesion_ui", *options],
            env=child_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
        )
    try:
        waiting = ChildProcess("app", process, log_path)
        url = f"http://127.0.0.1:{port}/_stcore/health"
        waiting.wait_until(lambda: _direct.open(url, timeout=5).status == 200, timeout_s=120)
        assert (handshake(port, f"127.0.0.1:{port}"), handshake(port, f"evil.example:{port}")) == (101, 403)
        process.terminate()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    log = log_path.read_text()
    assert f"Lesion app: http://127.0.0.1:{port}" in log
    assert "Traceback" not in log
    assert TOKEN not in log
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.log", "token.txt"]


def test_every_setting_exists_in_this_streamlit() -> None:
    """A misspelt one would be ignored in silence."""
    from streamlit import config

    known = config.get_config_options()

    assert [name for name in streamlit_options(8501) if name not in known] == []


def test_nothing_is_reported_and_nothing_is_open() -> None:
    """Loopback only, no telemetry, no stack traces."""
    options = streamlit_options(8501)

    assert options["server.address"] == "127.0.0.1"
    assert options["browser.gatherUsageStats"] is False
    assert options["client.showErrorDetails"] == "none"
    assert options["server.enableXsrfProtection"] is True
