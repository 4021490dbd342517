"""The peers of ``serving.py``: TorchServe's stock image classifier, LitServe, and a loop without a server."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from lesion_core.bundle import WEIGHTS, load_bundle
from lesion_core.processes import ONE_THREAD, ChildProcess, free_port
from lesion_plugins import torchvision_remedy
from lesion_serve.engine.torchserve_instance import TorchServeInstance, load_failure
from lesion_serve.engine.torchserve_layout import TorchServeSettings
from lesion_serve.predictor import Predictor

START_S = 180.0
SEQUENCE = 30

# The stock handler as it is, but for the size and the normalisation of our network, and with the remedy without which
# torchvision cannot be imported beside a CPU build of torch. It imports captum for explanations, which nobody asks for
# here; a stand-in saves a requirement and costs the peer nothing.
STOCK_HANDLER = """
import sys
import types
import torchvision_remedy
torchvision_remedy.apply()
captum = types.ModuleType("captum.attr")
captum.IntegratedGradients = lambda model: None
sys.modules.update({{"captum": types.ModuleType("captum"), "captum.attr": captum}})
from torchvision import transforms
from ts.torch_handler.image_classifier import ImageClassifier

class StockHandler(ImageClassifier):
    topk = 5
    image_processing = transforms.Compose([
        transforms.Resize({side}), transforms.CenterCrop({side}), transforms.ToTensor(),
        transforms.Normalize(mean={mean}, std={std}),
    ])
"""
STOCK_MODEL = """
import torchvision_remedy
torchvision_remedy.apply()
import timm
import torch

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = timm.create_model("{model}", num_classes=8)

    def forward(self, images):
        return self.network(images)
"""
LITSERVE = """
import sys
from pathlib import Path
import litserve
from fastapi import UploadFile
from lesion_core.wire import to_json
from lesion_serve.predictor import Predictor

class Api(litserve.LitAPI):
    def setup(self, device):
        self.predictor = Predictor.load(Path(sys.argv[1]), version="1", threads=1)
        self.predictor.warm_up()

    def decode_request(self, request: UploadFile):
        return request.file.read()

    def predict(self, image):
        return self.predictor.predict(image)

    def encode_response(self, prediction):
        return {"prediction": to_json(prediction)}

if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", devices=1, workers_per_device=int(sys.argv[3]))
    quiet = {"generate_client_file": False, "log_level": "error"}
    server.run(host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, **quiet)
"""


def loop_throughput(bundle: Path, image: bytes, *, processes: int, seconds: float) -> float:
    """Answers a second of ``processes`` processes that do nothing but answer, one thread each."""
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(processes)
    counts = context.Queue()
    children = [context.Process(target=_loop, args=(bundle, image, seconds, begin, counts)) for _ in range(processes)]
    for child in children:
        child.start()
    total = sum(float(counts.get(timeout=START_S + seconds)) for _ in children)
    for child in children:
        child.join()
    return total


def _loop(bundle: Path, image: bytes, seconds: float, begin: object, counts: object) -> None:
    predictor = Predictor.load(bundle, version="1", threads=1)
    predictor.warm_up()
    begin.wait()  # type: ignore[attr-defined]
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        predictor.predict(image)
        done += 1
    counts.put(done / (time.perf_counter() - started))  # type: ignore[attr-defined]


@contextmanager
def stock_torchserve(bundle: Path, folder: Path, *, workers: int) -> Iterator[tuple[str, dict[str, str]]]:
    """TorchServe with its own handler, the bundle's kind of network in eager mode; address and headers.

    Args:
        bundle: gives size, normalisation and backbone; the weights are random, which costs the same.
        folder: for what is made.
        workers: processes, one thread each.
    """
    manifest = load_bundle(bundle).manifest
    assert manifest.backbone.name.startswith("efficientnet_lite"), f"no stock network for {manifest.backbone.name}"
    model = f"tf_{manifest.backbone.name}"
    spec = manifest.preprocess
    handler = STOCK_HANDLER.format(side=spec.input_size_px, mean=list(spec.mean), std=list(spec.std))
    (folder / "stock_handler.py").write_text(handler)
    (folder / "stock_model.py").write_text(STOCK_MODEL.format(model=model))
    remedy = Path(torchvision_remedy.__file__)
    shutil.copyfile(remedy, folder / remedy.name)
    (folder / "index_to_name.json").write_text(json.dumps({str(row): str(row) for row in range(8)}))
    make = f"from stock_model import Network; import torch; torch.save(Network().state_dict(), {WEIGHTS + '.pt'!r})"
    subprocess.run([sys.executable, "-c", make], cwd=folder, check=True)
    packer = [sys.executable, "-m", "model_archiver.model_packaging", "--model-name", "stock", "--version", "1.0"]
    packer += ["--model-file", "stock_model.py", "--serialized-file", f"{WEIGHTS}.pt", "--handler", "stock_handler.py"]
    packer += ["--extra-files", f"index_to_name.json,{remedy.name}", "--export-path", ".", "--force"]
    subprocess.run(packer, cwd=folder, check=True)
    instance = TorchServeInstance.start(TorchServeSettings(port=free_port(), workers=workers), serving=folder)
    try:
        (instance.folder / "models" / "stock.mar").write_bytes((folder / "stock.mar").read_bytes())
        instance.management.register("stock.mar", workers=workers)
        _wait(lambda: _is_loaded(instance, workers))
        headers = {"Authorization": f"Bearer {instance.token}", "Content-Type": "image/jpeg"}
        yield f"http://127.0.0.1:{instance.ports.inference}/predictions/stock", headers
    finally:
        instance.stop()


@contextmanager
def litserve(bundle: Path, folder: Path, *, workers: int) -> Iterator[str]:
    """LitServe with our predictor; its address takes a form with a file ``request``."""
    port = free_port()
    script = folder / "litserve_peer.py"
    script.write_text(LITSERVE)
    server = ChildProcess.start(
        "LitServe",
        [sys.executable, str(script), str(bundle), str(port), str(workers)],
        log_path=folder / "litserve.log",
        environment=ONE_THREAD,
    )
    try:
        _wait(lambda: _is_up(f"http://127.0.0.1:{port}/health"))
        yield f"http://127.0.0.1:{port}/predict"
    finally:
        server.stop()


def _is_loaded(instance: TorchServeInstance, workers: int) -> bool:
    if reason := load_failure(instance.log_path.read_text(), "stock", "1.0"):
        raise RuntimeError(f"The stock handler cannot be loaded: {reason}")
    return [one.is_ready for one in instance.management.workers("stock", "1.0")] == [True] * workers


def _is_up(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _wait(condition: object) -> None:
    deadline = time.monotonic() + START_S
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError(f"A peer was not up within {START_S:.0f} s.")
        time.sleep(0.2)
