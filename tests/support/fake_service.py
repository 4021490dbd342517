"""A prediction service that answers what a test tells it to, and canned predictions for it."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs

from lesion_core import service
from lesion_core.monitoring import MonitoringReport
from lesion_core.service import Feedback, Page, Record, SimilarCases
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
    from_json,
    to_json,
)
from lesion_core.workspace import Endpoint
from support.kept import make_caller, make_evaluation, make_label, make_lines, make_report, make_versions

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
    """A gateway with canned answers: every image gets ``status`` and ``body``; without the right token, as TorchServe.

    ``hang`` holds answers back until ``close``; ``refuses`` turns every key away. ``requests`` keeps the images,
    ``headers`` those of the last one. The rest is what the other routes tell; ``report`` is ``None`` where nothing was
    answered.
    """

    def __init__(self) -> None:
        self.status = 200
        self.body: bytes | str = to_json(make_prediction())
        self.hang = self.refuses = False
        self.first: list[str] = []  # answers for the next images, before ``body``
        self.requests: list[bytes] = []
        self.headers: dict[str, str] = {}
        self.caller = make_caller()
        self.lines = make_lines(12)
        self.longest_page = 200
        self.label = make_label()
        self.versions = make_versions()
        self.report: MonitoringReport | None = make_report()
        self.similar: SimilarCases | None = None
        self.similar_breaks = False
        self.evaluation: dict[str, Any] | None = make_evaluation()
        self.card = "# Model card\n\nTrained on **isic2019**. ![pixel](http://192.0.2.1/x.png)"
        self.feedback: dict[str, list[Feedback]] = {}
        self.erased = set[str]()  # requests whose person was erased
        self.said: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, and the token that it takes."""
        return Endpoint(url=f"http://127.0.0.1:{self._server.server_port}/v1/predictions", token=TOKEN)

    def answer(self, message: Prediction | Problem, status: int = 200) -> None:
        """Answer images with a message of the wire from now on."""
        self.status, self.body = status, to_json(message)

    def release(self) -> None:
        """Let go what hangs."""
        self.hang = False
        self._ended.set()

    def close(self) -> None:
        """Stop listening; what hangs is let go."""
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def record(self, request_id: str) -> Record | None:
        """The kept answer: the one that images get, under this number."""
        canned = from_json(self.body, Prediction) if self.status == 200 else make_prediction()
        known = {line.request_id for line in self.lines} | {canned.request_id}
        if request_id not in known:
            return None
        is_erased = request_id in self.erased
        return Record(
            request_id=request_id,
            at="2026-03-02T09:30:00+00:00",
            key_id="a1b2c3d4",
            position=17,
            digest="fedcba9876543210" * 4,
            image_sha256=None if is_erased else "aa" * 32,
            image_bytes=34567,
            subject=None if is_erased else "P-1",
            erased=("image_sha256", "subject") if is_erased else (),
            prediction=attrs.evolve(canned, request_id=request_id, heat_map=None),
            feedback=tuple(self.feedback.get(request_id, ())),
        )

    def _reply(self, method: str, target: str, headers: Mapping[str, str], data: bytes) -> tuple[int, bytes]:
        url = urllib.parse.urlsplit(target)
        is_image = method == "POST" and url.path == "/v1/predictions"
        if is_image:
            self.requests.append(data)
            self.headers = dict(headers)
        self.asked.append(f"{method} {target}")
        if self.hang:
            self._ended.wait()
        if self.refuses:
            return _problem(401, "bad_key")
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            message = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
            return 400, json.dumps({"code": 400, "type": "InvalidKeyException", "message": message}).encode()
        if is_image and self.first:
            return 200, self.first.pop(0).encode()
        if is_image:
            return self.status, self.body.encode() if isinstance(self.body, str) else self.body
        query = dict(urllib.parse.parse_qsl(url.query))
        return self._tell(method, url.path.removeprefix("/v1/"), query, json.loads(data) if data else {})

    def _tell(self, method: str, route: str, query: dict[str, str], said: dict[str, Any]) -> tuple[int, bytes]:
        match [method, *route.split("/")]:
            case ["GET", "caller"]:
                return _ok(self.caller)
            case ["GET", "label"]:
                return _ok(self.label)
            case ["GET", "predictions"]:
                return _ok(self._page(query))
            case ["GET", "predictions", request_id]:
                record = self.record(urllib.parse.unquote(request_id))
                return _problem(404, "no_prediction") if record is None else _ok(record)
            case ["GET", "predictions", _, "similar"]:
                if self.similar_breaks:
                    return _problem(503, "bad_atlas")
                return _problem(404, "no_atlas") if self.similar is None else _ok(self.similar)
            case ["POST", "predictions", request_id, "feedback"]:
                self.said.append(said)
                feedback = Feedback(
                    at="2026-03-02T10:00:00+00:00",
                    key_id=self.caller.key_id,
                    verdict=said["verdict"],
                    diagnosis=said.get("diagnosis"),
                    comment=said.get("comment"),
                    source=said.get("source", "clinical"),
                )
                self.feedback.setdefault(request_id, []).append(feedback)
                return 201, service.to_json(feedback).encode()
            case ["GET", "versions"]:
                return _ok(self.versions)
            case ["GET", "versions", _, "card"]:
                return 200, self.card.encode()
            case ["GET", "versions", _, "evaluation"]:
                return _problem(404, "no_evaluation") if self.evaluation is None else _text(self.evaluation)
            case ["POST", "deployment"]:
                self.said.append(said)
                if "deploy" not in self.caller.permissions:
                    return _problem(403, "forbidden")
                return _ok(self.versions)
            case ["GET", "monitoring"]:
                if "monitor" not in self.caller.permissions:
                    return _problem(403, "forbidden")
                return _problem(404, "no_predictions") if self.report is None else _ok(self.report)
        return _problem(404, "not_found")

    def _page(self, query: dict[str, str]) -> Page:
        fields = {"top": "top", "version": "model_version", "band": "band", "subject": "subject"}
        found = self.lines
        for name, field in fields.items():
            if name in query:
                found = [line for line in found if getattr(line, field) == query[name]]
        if "review" in query:
            found = [line for line in found if (line.review or "none") == query["review"]]
        found = [line for line in found if query.get("since", "") <= line.at < query.get("until", "9")]
        first, limit = int(query.get("cursor", 0)), min(int(query.get("limit", 50)), self.longest_page)
        after = first + limit
        return Page(items=tuple(found[first:after]), next=str(after) if after < len(found) else None)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def _answer(self, data: bytes) -> None:
                status, body = service._reply(self.command, self.path, dict(self.headers.items()), data)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler


def _ok(message: object) -> tuple[int, bytes]:
    return 200, service.to_json(message).encode()


def _text(message: object) -> tuple[int, bytes]:
    return 200, json.dumps(message).encode()


def _problem(status: int, code: str) -> tuple[int, bytes]:
    return status, to_json(Problem(code=code, message=f"The fake service says {code}.")).encode()
