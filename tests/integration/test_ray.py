"""Many hosts: batches on Ray Data and an application of Ray Serve, on a local cluster."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from lesion_core.bundle import Bundle
from lesion_core.processes import child_environment, free_port
from lesion_core.wire import ModelIdentity, Prediction, Problem, from_json
from lesion_serve.archive import ArchiveError, build_archive
from lesion_serve.batch import on_ray
from lesion_serve.batch.answering import Model
from lesion_serve.batch.pool import WorkerPool
from lesion_serve.batch.run import Batch, Summary, run_batch
from lesion_serve.engine.ray_serve import RaySettings, application
from lesion_serve.predictor import Predictor
from lesion_serve.ray_cluster import RayError, cluster, import_ray
from support import batch_worker
from support.batch_worker import BAD, DEADLY, FakeAnswers, asked
from support.batches import make_batch, silent, write_images
from support.bundles import make_tiny_bundle
from support.images import encoded_lesion

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'lesion-serve[ray]'"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def leaves_nothing() -> Iterator[None]:
    """A cluster ends with what started it."""
    yield
    _, alive = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=30)
    assert alive == []


def run(bundle: Bundle, batch: Batch, **options: object) -> Summary:
    """On a cluster of two CPUs, without a model."""
    arguments = {"address": None, "workers": 2, "cpus": 2, "load": FakeAnswers, **options}
    return run_batch(batch, on_ray.answering_on_ray(bundle, batch.model, **arguments), silent)  # type: ignore[arg-type]


@needs_ray
@pytest.mark.usefixtures("leaves_nothing")
def test_a_batch_on_ray_writes_the_same_table_and_goes_on_after_a_death(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an image kills the actor each time: it becomes an error, and no other is lost."""
    images = write_images(tmp_path, 100)
    (images / "0003.jpg").write_bytes(BAD)
    (images / "0070.jpg").write_bytes(DEADLY)
    monkeypatch.setattr(on_ray, "WorkerPool", partial(WorkerPool, program=batch_worker.__name__))
    here = make_batch(tmp_path, out="here.csv")
    run_batch(here, WorkerPool(here.model, workers=2, program=batch_worker.__name__).answers, silent)
    (images / "asked.log").unlink()
    batch = make_batch(tmp_path)

    class StoppedError(Exception):
        """As a kill would."""

    class Stopping:
        def __enter__(self) -> Stopping:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing."""

        def advance(self, images: int, errors: int) -> None:
            raise StoppedError

    answering = on_ray.answering_on_ray(bundle, batch.model, address=None, workers=2, cpus=2, load=FakeAnswers)
    with pytest.raises(StoppedError):
        run_batch(batch, answering, lambda *_: Stopping())
    summary = run(bundle, batch)

    assert summary.errors == {"corrupt_image": 1, "worker_died": 1}
    assert on_ray.CHUNK // 2 <= summary.before < 100  # what came back is not asked about again
    assert batch.out.read_text() == here.out.read_text()
    assert set(asked(images)) == {f"{number:04}.jpg" for number in range(100)}


@needs_ray
@pytest.mark.usefixtures("leaves_nothing")
def test_a_real_model_answers_on_ray_as_it_does_here(bundle: Bundle, tmp_path: Path) -> None:
    """Its files travel to the actor."""
    write_images(tmp_path, 3, encoded_lesion())
    identity = ModelIdentity(name="skin-lesion", version="7", backbone="x", bundle_digest=bundle.digest)
    model = Model(folder=str(bundle.folder), identity=identity, codes=bundle.manifest.taxonomy.codes, layout="full")
    tables = []
    for out in ("here.csv", "ray.csv"):
        batch = make_batch(tmp_path, out=out)
        ray = on_ray.answering_on_ray(bundle, model, address=None, workers=1, cpus=1)
        run_batch(batch, ray if out == "ray.csv" else WorkerPool(model, workers=1).answers, silent)
        tables.append(batch.out.read_text())

    assert tables[0] == tables[1]
    assert tables[0].count(",7,") == 3


@needs_ray
@pytest.mark.usefixtures("leaves_nothing")
def test_a_cluster_that_is_not_there_is_named(bundle: Bundle, tmp_path: Path) -> None:
    """Before anything is asked."""
    write_images(tmp_path, 1)

    with pytest.raises(RayError, match=r"127\.0\.0\.1:9 cannot be reached.*HOST:PORT"):
        run(bundle, make_batch(tmp_path), address="127.0.0.1:9")


SOMEBODY_ELSE = """
import sys, ray
ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=2**28, _temp_dir=sys.argv[1])
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def head(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A cluster with tokens that somebody else has started; its address, and the environment with the token."""
    home, folder = tmp_path / "home", tempfile.mkdtemp()  # a short path: sockets lie in it
    home.mkdir()
    environment = child_environment({"HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"})
    environment.pop("RAY_AUTH_MODE", None)  # which Ray has set here, if it was asked for a cluster before
    command = [sys.executable, "-c", SOMEBODY_ELSE, folder]
    started = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdin is not None
    assert started.stdout is not None
    address = started.stdout.readline().strip()
    family = psutil.Process(started.pid).children(recursive=True)
    try:
        yield address, environment
    finally:
        started.stdin.close()
        started.wait(60)
        started.stdout.close()
        _, alive = psutil.wait_procs(family, timeout=60)
        for one in alive:
            one.kill()
        shutil.rmtree(folder, ignore_errors=True)
    assert (started.returncode, alive) == (0, [])


@needs_ray
def test_a_batch_runs_in_a_cluster_that_somebody_else_has_started(
    head: tuple[str, dict[str, str]], bundle: Bundle, tmp_path: Path
) -> None:
    """The program itself, with the cluster's token; without it, it says where one belongs, and the cluster lives on."""
    address, environment = head
    write_images(tmp_path, 3, encoded_lesion())
    command = [sys.executable, "-m", "lesion_serve", "predict", str(tmp_path / "images"), "--workers", "1"]
    command += ["--model", str(bundle.folder)]

    def run_program(out: str, *options: str, **others: str) -> subprocess.CompletedProcess[str]:
        whole = [*command, "--out", str(tmp_path / out), *options]
        return subprocess.run(whole, env={**environment, **others}, capture_output=True, text=True, check=False)

    stranger = run_program("stranger.csv", "--ray-address", address, HOME=str(tmp_path))
    there = run_program("there.csv", "--ray-address", address)
    here = run_program("here.csv")

    assert (stranger.returncode, "auth_token" in stranger.stderr) == (2, True), stranger.stderr
    assert (there.returncode, here.returncode) == (0, 0), there.stderr + here.stderr
    assert (tmp_path / "there.csv").read_text() == (tmp_path / "here.csv").read_text()


@needs_ray
@pytest.mark.usefixtures("leaves_nothing")
def test_a_ray_serve_application_answers_as_the_handler_does(bundle: Bundle, tmp_path: Path) -> None:
    """A prediction equal to the predictor's, and problems with their status; the headers arrive too."""
    from ray import serve

    archive = build_archive(bundle.folder, tmp_path / "a.mar", version="7")
    image, port = encoded_lesion(), free_port()
    expected = Predictor.load(bundle.folder, version="7").predict(image)
    url = f"http://127.0.0.1:{port}/predictions/skin_vit"
    with cluster(None, cpus=2), httpx.Client(trust_env=False, timeout=60) as http:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(application({"archive": str(archive.path)}), route_prefix="/predictions/skin_vit")
        try:
            good = http.post(url, content=image, headers={"X-Request-ID": "r-1", "Content-Type": "image/jpeg"})
            bad = http.post(url, content=b"no image")
            form = http.post(url, files={"data": image})
            wrong = http.post(url, content=image, headers={"X-Lesion-Heat-Map": "perhaps"})
            read = http.get(url)
        finally:
            serve.shutdown()

    prediction = from_json(good.content, Prediction)
    assert (good.status_code, prediction.request_id, prediction.model) == (200, "r-1", expected.model)
    assert [item.probability for item in prediction.probabilities] == pytest.approx(
        [item.probability for item in expected.probabilities], abs=1e-5
    )
    said = [(answer.status_code, from_json(answer.content, Problem).code) for answer in (bad, form, wrong, read)]
    assert said == [
        (415, "unsupported_format"), (415, "unsupported_request"), (422, "bad_request"), (405, "bad_method"),
    ]  # fmt: skip


@needs_ray
def test_an_application_without_an_archive_is_refused_where_it_is_started(tmp_path: Path) -> None:
    """And not in the log of a replica on another host."""
    with pytest.raises(ArchiveError, match="is not an archive"):
        application({"archive": str(tmp_path / "absent.mar")})


@pytest.mark.parametrize("replicas", ["1.5", 1.5, True, "0", "-1", "many"])
def test_replicas_are_a_whole_number(replicas: object) -> None:
    """1.5 of them would be one."""
    with pytest.raises(RayError, match="whole number"):
        RaySettings(archive=Path("a.mar"), replicas=replicas)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(RayError, match=r"pip install 'lesion-serve\[ray\]'") as caught:
        import_ray()
    assert caught.value.code == "no_ray"
