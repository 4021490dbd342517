"""A prediction service that answers what a test tells it to, and canned predictions for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lesion_core.taxonomy import ISIC_2019
from lesion_core.wire import (
    ClassProbability,
    ConformalSet,
    MalignancyRisk,
    ModelIdentity,
    OutOfDistribution,
    Prediction,
    Problem,
    QualityFinding,
    to_json,
)
from lesion_core.workspace import Endpoint

TOKEN = "token-of-the-fake"
WEIGHTS = {"MEL": 0.62, "NV": 0.21, "BKL": 0.09, "BCC": 0.03, "SCC": 0.02, "AK": 0.013, "DF": 0.004, "VASC": 0.003}
BANDS = (("low", 0.0, 0.124, 330, 15), ("intermediate", 0.124, 0.41, 210, 66), ("high", 0.41, 1.0, 306, 232))


def make_prediction(weights: Mapping[str, float] = WEIGHTS, *, none: float = 0.01, **changes: Any) -> Prediction:
    """A prediction with these relative weights of the trained classes; ``changes`` replace fields."""
    total = sum(weights.values())
    shares = {code: value / total for code, value in weights.items()}
    probabilities = tuple(
        ClassProbability(
            code=d.code,
            name=d.name,
            malignancy=d.malignancy,
            plain=d.plain,
            codes=d.codes,
            probability=none if d is ISIC_2019.none_of_the_above else (1 - none) * shares.get(d.code, 0.0),
        )
        for d in ISIC_2019.diagnoses
    )
    risk = min(1.0, shares.get("MEL", 0.0) + shares.get("BCC", 0.0) + shares.get("SCC", 0.0))
    fields: dict[str, Any] = {
        "request_id": "req-0001",
        "model": ModelIdentity(
            name="skin-lesion", version="3", backbone="efficientnet_lite0", bundle_digest="0123456789abcdef" * 4
        ),
        "probabilities": probabilities,
        "out_of_distribution": OutOfDistribution(detector="mahalanobis", score=11.2, threshold=16.5, is_outside=False),
        "conformal_set": ConformalSet(codes=("MEL", "NV"), coverage=0.9),
        "risk": make_risk(risk),
        **changes,
    }
    return Prediction(**fields)


def make_finding(**changes: Any) -> QualityFinding:
    """A finding that warns; ``changes`` replace fields."""
    fields: dict[str, Any] = {
        "code": "too_dark",
        "grade": "warn",
        "value": 101.5,
        "threshold": 128.0,
        "origin": "0.5 % of real images are below",
        "message": "The image is dark.",
        **changes,
    }
    return QualityFinding(**fields)


def make_risk(probability: float) -> MalignancyRisk:
    """A risk in the band of a validation part of 846 images."""
    name, lower, upper, images, malignant = next(band for band in reversed(BANDS) if probability >= band[1])
    return MalignancyRisk(
        probability=probability,
        band=name,
        lower=lower,
        upper=upper,
        sensitivity=0.95,
        images=images,
        malignant=malignant,
        prevalence=0.37,
    )


def outside_prediction() -> Prediction:
    """An image that is unlike the training images, and dark."""
    return make_prediction(
        none=0.93,
        out_of_distribution=OutOfDistribution(detector="mahalanobis", score=31.7, threshold=16.5, is_outside=True),
        quality=(
            make_finding(code="too_dark", message="The image is very dark. Take it again with more light."),
            make_finding(code="blank", message="The image shows almost no structure. Check focus and framing."),
        ),
    )


class FakeService:
    """Answers every POST with ``status`` and ``body``; without the right token as TorchServe does.

    ``hang`` holds the answer back until ``close``. ``requests`` keeps the bodies, ``headers`` those of the last.
    """

    def __init__(self) -> None:
        self.status = 200
        self.body: bytes | str = to_json(make_prediction())
        self.hang = False
        self.requests: list[bytes] = []
        self.headers: dict[str, str] = {}
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, and the token that it takes."""
        return Endpoint(url=f"http://127.0.0.1:{self._server.server_port}/predictions/skin_vit", token=TOKEN)

    def answer(self, message: Prediction | Problem, status: int = 200) -> None:
        """Answer with a message of the wire from now on."""
        self.status, self.body = status, to_json(message)

    def close(self) -> None:
        """Stop listening; what hangs is let go."""
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def _reply(self, headers: Mapping[str, str], data: bytes) -> tuple[int, bytes]:
        self.requests.append(data)
        self.headers = dict(headers)
        if self.hang:
            self._ended.wait()
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            message = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
            return 400, json.dumps({"code": 400, "type": "InvalidKeyException", "message": message}).encode()
        return self.status, self.body.encode() if isinstance(self.body, str) else self.body

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, body = service._reply(dict(self.headers.items()), data)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler
