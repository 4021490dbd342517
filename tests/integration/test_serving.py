"""A real TorchServe with a real archive, over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import httpx
import psutil
import pytest

from lesion_core.errors import LesionError
from lesion_core.processes import child_environment, free_port
from lesion_core.taxonomy import ISIC_2019
from lesion_core.wire import Prediction, Problem, from_json
from lesion_serve.archive import NICENESS, build_archive, read_archive
from lesion_serve.engine.engine import EngineError
from lesion_serve.engine.torchserve import TorchServeEngine
from lesion_serve.engine.torchserve_layout import TorchServeSettings
from support.archives import altered
from support.bundles import make_tiny_bundle
from support.images import encoded_lesion


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    bundle = make_tiny_bundle(folder / "bundle")
    return build_archive(bundle.folder, folder / "skin_vit.mar", version="5").path


@pytest.fixture(scope="module")
def engine(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeEngine]:
    """Started from a shell with TorchServe settings of its own, which must not count."""
    serving = tmp_path_factory.mktemp("serving")
    (serving / "of_the_shell.properties").write_text("disable_token_authorization=true\nenable_model_api=true\n")
    with pytest.MonkeyPatch.context() as shell:
        shell.setenv("TS_CONFIG_FILE", str(serving / "of_the_shell.properties"))
        shell.setenv("TS_DISABLE_TOKEN_AUTHORIZATION", "true")
        shell.setenv("DATABASE_URL", "postgresql://lesion:hunter2@db/lesion")
        shell.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
        shell.setenv("LOG_LOCATION", str(serving / "logs_of_the_shell"))
        engine = TorchServeEngine.start(read_archive(archive), TorchServeSettings(port=free_port()), serving=serving)
    yield engine
    engine.stop()


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """For a program that is killed and leaves its folder; the path of a socket in it has at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def config(engine: TorchServeEngine) -> dict[str, str]:
    lines = (engine._instance.folder / "config.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def ask(engine: TorchServeEngine, data: bytes, content_type: str, token: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token or engine.endpoint.token}", "Content-Type": content_type}
    return httpx.post(engine.endpoint.url, content=data, headers=headers, timeout=60, trust_env=False)


def worker_pids(engine: TorchServeEngine) -> set[int]:
    guard = psutil.Process(engine.process._process.pid)
    return {p.pid for p in guard.children(recursive=True) if any("model_service_worker" in w for w in p.cmdline())}


@pytest.mark.parametrize(("kind", "content_type"), [("JPEG", "image/jpeg"), ("PNG", "image/png")])
def test_an_image_is_answered_on_the_wire(engine: TorchServeEngine, kind: str, content_type: str) -> None:
    """Nine probabilities, and the version that was packed."""
    answer = ask(engine, encoded_lesion(kind), content_type)

    assert answer.status_code == 200
    prediction = from_json(answer.content, Prediction)
    assert tuple(item.code for item in prediction.probabilities) == ISIC_2019.codes
    assert prediction.model.version == "5"
    assert engine.endpoint.url.endswith("/predictions/skin_vit")


def test_bad_input_gets_a_4xx_with_a_code_and_a_sentence_and_the_worker_lives_on(engine: TorchServeEngine) -> None:
    """A text file, a truncated JPEG, an empty body, a form."""
    before = worker_pids(engine)
    cases = [
        (b"just a text file", "image/jpeg", 415, "unsupported_format"),
        (encoded_lesion()[:500], "image/jpeg", 422, "corrupt_image"),
        (b"", "image/jpeg", 400, "empty_body"),
        (b"a=1&b=2", "application/x-www-form-urlencoded", 415, "unsupported_request"),
    ]
    for data, content_type, status, code in cases:
        answer = ask(engine, data, content_type)
        problem = from_json(answer.content, Problem)
        assert (answer.status_code, problem.code) == (status, code)
        assert " " in problem.message

    assert ask(engine, encoded_lesion(), "image/jpeg").status_code == 200
    assert worker_pids(engine) == before


def test_headers_reach_the_handler(engine: TorchServeEngine) -> None:
    """TorchServe passes on what it does not know."""
    token = {"Authorization": f"Bearer {engine.endpoint.token}", "Content-Type": "image/jpeg"}

    def status_and_body(headers: dict[str, str]) -> tuple[int, bytes]:
        sent = {**token, **headers}
        answer = httpx.post(engine.endpoint.url, content=encoded_lesion(), headers=sent, timeout=60, trust_env=False)
        return answer.status_code, answer.content

    told = '{"age_approx": 55, "sex": "female"}'
    status, drawn = status_and_body({"X-Lesion-Heat-Map": "true", "x-lesion-metadata": told})
    refused = status_and_body({"X-Lesion-Metadata": '{"age": 55}'})

    assert status == 200
    heat_map = from_json(drawn, Prediction).heat_map
    assert heat_map is not None
    assert heat_map.code in ISIC_2019.trained_codes
    assert refused[0] == 422
    assert from_json(refused[1], Problem).code == "bad_metadata"


def test_a_wrong_token_is_refused(engine: TorchServeEngine) -> None:
    """TorchServe says 400 to it."""

    assert ask(engine, encoded_lesion(), "image/jpeg", token="wrong").status_code == 400


def test_the_management_address_is_closed_without_its_own_key(engine: TorchServeEngine) -> None:
    """The token for predictions does not open it."""
    headers = {"Authorization": f"Bearer {engine.endpoint.token}"}

    answer = httpx.get(f"{config(engine)['management_address']}/models", headers=headers, timeout=30, trust_env=False)

    assert answer.status_code == 400


def test_nobody_adds_or_removes_a_model_without_the_key_of_the_management_address(engine: TorchServeEngine) -> None:
    """The token for predictions is not it; and there is no other way in."""
    ports = engine._instance.ports
    attempts = [("POST", "/models?url=skin_vit.mar&model_name=other"), ("DELETE", "/models/skin_vit/5")]
    tokens: list[dict[str, str]] = [{}, {"Authorization": f"Bearer {engine.endpoint.token}"}]
    for headers in tokens:
        for port in (ports.management, ports.inference):
            for method, path in attempts:
                url = f"http://127.0.0.1:{port}{path}"
                assert httpx.request(method, url, headers=headers, timeout=30, trust_env=False).status_code >= 400

    assert ask(engine, encoded_lesion(), "image/jpeg").status_code == 200


def test_archives_come_from_the_store_only(engine: TorchServeEngine, archive: Path) -> None:
    """Also for who has the key: neither a file elsewhere nor another host."""
    for url in (f"file://{archive}", "http://127.0.0.1:9/a.mar", f"../{archive.name}"):
        with pytest.raises(EngineError):
            engine._instance.management.register(url, workers=1)


def test_secrets_of_the_shell_are_not_in_a_worker(engine: TorchServeEngine) -> None:
    """Read from the running process; nor in Java's."""
    guard = psutil.Process(engine.process._process.pid)
    java = [child.pid for child in guard.children() if child.pid not in worker_pids(engine)]
    for pid in (*worker_pids(engine), *java):
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"OMP_NUM_THREADS=1" in environment
        assert b"hunter2" not in environment
        assert b"DATABASE_URL" not in environment


def test_a_worker_goes_last_where_cores_are_few(engine: TorchServeEngine) -> None:
    """What takes requests on, and what records answers, does not wait for a network."""
    assert {psutil.Process(pid).nice() for pid in worker_pids(engine)} == {os.nice(0) + NICENESS}


def test_every_address_is_on_loopback(engine: TorchServeEngine) -> None:
    """Those of gRPC too, which cannot be switched off."""
    guard = psutil.Process(engine.process._process.pid)
    listening = [
        connection.laddr.ip.removeprefix("::ffff:")
        for process in guard.children(recursive=True)
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]

    assert len(listening) == 5
    assert set(listening) == {"127.0.0.1"}


def test_no_key_is_in_a_log(engine: TorchServeEngine) -> None:
    """Nor did the shell send the logs elsewhere."""
    log = engine.process.log_path
    assert log is not None
    keys = json.loads((engine._instance.folder / "key_file.json").read_text())

    assert not [name for name, entry in keys.items() if entry["key"] in log.read_text()]
    assert not list(engine._instance.folder.rglob("*.log"))
    assert not (log.parent / "logs_of_the_shell").exists()


def test_a_request_is_one_line_of_the_log(engine: TorchServeEngine) -> None:
    """Nine lines would fill the disk of a server that is left alone, as would its looks at TorchServe's state."""
    log = engine.process.log_path
    assert log is not None
    before = log.stat().st_size
    for _ in range(3):
        assert ask(engine, encoded_lesion(), "image/jpeg").status_code == 200
    engine._instance.management.workers("skin_vit", "5")
    assert ask(engine, encoded_lesion(), "image/jpeg").status_code == 200
    wait_for(lambda: log.read_text()[before:].count("POST /predictions/") >= 4)

    assert [line for line in log.read_text()[before:].splitlines() if '"POST /predictions/' not in line] == []


def test_keys_outlive_an_hour_and_are_for_their_owner_only(engine: TorchServeEngine) -> None:
    """TorchServe's default kills every key after 60 minutes."""
    path = engine._instance.folder / "key_file.json"
    keys = json.loads(path.read_text())

    assert int(keys["inference"]["expiration time"][:4]) > time.gmtime().tm_year + 5
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_second_server_runs_beside_the_first(engine: TorchServeEngine, archive: Path, tmp_path: Path) -> None:
    """Ports, sockets and folders of its own; two workers."""
    second = TorchServeEngine.start(
        read_archive(archive), TorchServeSettings(port=free_port(), workers=2), serving=tmp_path
    )
    try:
        wait_for(lambda: len(worker_pids(second)) == 2)
        assert ask(second, encoded_lesion(), "image/jpeg").status_code == 200
        assert ask(engine, encoded_lesion(), "image/jpeg").status_code == 200
    finally:
        second.stop()

    assert ask(engine, encoded_lesion(), "image/jpeg").status_code == 200


def test_a_worker_runs_the_code_of_its_archive(archive: Path, tmp_path: Path) -> None:
    """Not that of the environment, though it is there too."""
    changed = altered(archive, tmp_path / "a.mar", "lesion_core/wire.py", b"Research use only.", b"FROM THE ARCHIVE.")
    engine = TorchServeEngine.start(changed, TorchServeSettings(port=free_port()), serving=tmp_path / "serving")
    try:
        prediction = from_json(ask(engine, encoded_lesion(), "image/jpeg").content, Prediction)
    finally:
        engine.stop()

    assert prediction.notice.startswith("FROM THE ARCHIVE.")
    assert str(attrs.fields(Prediction).notice.default).startswith("Research use only.")


def test_a_model_that_does_not_load_says_why(archive: Path, tmp_path: Path) -> None:
    """TorchServe alone would try again for minutes and then say that a worker died."""
    manifest = json.loads(zipfile.ZipFile(archive).read("bundle/bundle.json"))
    card = manifest["files"]["card.md"].encode()
    broken = altered(archive, tmp_path / "a.mar", "bundle/bundle.json", card, b"0" * 64)

    with pytest.raises(
        LesionError, match=r"could not load the model: BundleError: .*card\.md does not match"
    ) as caught:
        TorchServeEngine.start(broken, TorchServeSettings(port=free_port()), serving=tmp_path / "serving")

    assert caught.value.code == "model_did_not_load"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_program_answers_and_ends_cleanly(archive: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM: exit code 0, no address and no process left; a bad image spoils no other."""
    environment = child_environment({"LESION_HOME": str(tmp_path)})
    command = [sys.executable, "-m", "lesion_serve"]
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    good.write_bytes(encoded_lesion())
    bad.write_bytes(b"text")
    program = subprocess.Popen([*command, "start", str(archive), *free_ports()], env=environment)
    wait_for(lambda: (tmp_path / "endpoint.json").exists() or program.poll() is not None)
    family = [process.pid for process in psutil.Process(program.pid).children(recursive=True)]

    asked = [*command, "ask", str(bad), str(good), "--json"]
    shown = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    program.send_signal(number)

    assert program.wait(60) == 0
    assert shown.returncode == 2
    assert "bad.jpg" in shown.stderr
    assert from_json(shown.stdout, Prediction).model.version == "5"
    assert not (tmp_path / "endpoint.json").exists()
    assert not [pid for pid in family if psutil.pid_exists(pid)]


def test_a_killed_server_program_leaves_no_process(archive: Path, tmp_path: Path, short_tmp: Path) -> None:
    """SIGKILL of the program that owns TorchServe ends Java and the workers too."""
    command = [sys.executable, "-m", "lesion_serve", "start", str(archive), *free_ports()]
    program = subprocess.Popen(
        command,
        env=child_environment({"LESION_HOME": str(tmp_path), "TMPDIR": str(short_tmp)}),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: (tmp_path / "endpoint.json").exists() or program.poll() is not None)
    family = [process.pid for process in psutil.Process(program.pid).children(recursive=True)]
    assert len(family) >= 3  # the guard, Java, a worker

    os.killpg(program.pid, signal.SIGKILL)
    program.wait()

    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in family))


def free_ports() -> tuple[str, ...]:
    """Options for a server beside others."""
    return "--port", str(free_port()), "--torchserve-port", str(free_port())


def wait_for(condition: object, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.2)
