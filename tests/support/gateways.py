"""A gateway in this process, with an engine that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import httpx
from starlette.applications import Starlette

from lesion_core.interval import Interval
from lesion_core.service import DiagnosisLine, Label, Limits
from lesion_core.taxonomy import Malignancy
from lesion_core.wire import NOTICE, ModelIdentity, Prediction
from lesion_serve.archive import ArchiveInfo
from lesion_serve.atlas import Atlases
from lesion_serve.deployment import Deployed, Deployment
from lesion_serve.deployment_store import DeploymentStore
from lesion_serve.engine.engine import LoadedVersion, always
from lesion_serve.gateway.admission import Admission
from lesion_serve.gateway.app import create_app
from lesion_serve.gateway.asking import Asking
from lesion_serve.gateway.deployments import Deployments
from lesion_serve.gateway.gateway import Gateway
from lesion_serve.gateway.history import History
from lesion_serve.gateway.keys import ApiKeys
from lesion_serve.gateway.metrics import Metrics
from lesion_serve.gateway.recording import Recording
from lesion_serve.gateway.reporting import Reporting
from lesion_serve.gateway.store_recorder import StoreRecorder
from lesion_serve.store import PredictionStore, StoredPrediction
from support.fake_service import make_prediction

IMAGE = b"\xff\xd8 bytes that only the handler looks at"
JPEG = {"Content-Type": "image/jpeg"}


class FakeEngine:
    """Answers, or raises what was put into ``errors``, in order."""

    def __init__(self) -> None:
        self.errors: list[Exception | None] = []
        self.asked: list[tuple[str | None, str, Mapping[str, str]]] = []
        self.ready = True
        self.loaded: tuple[str, ...] = ("1",)
        self.restarted: dict[str, int] = {"worker": 0}
        self.most_at_once = 0
        self._in_hand = 0

    async def predict(
        self,
        image: bytes,
        *,
        request_id: str,
        timeout_s: float,
        content_type: str | None = None,
        version: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Prediction:
        """Answer as told."""
        self.asked.append((version, request_id, headers or {}))
        self._in_hand += 1
        self.most_at_once = max(self.most_at_once, self._in_hand)
        await asyncio.sleep(0)
        self._in_hand -= 1
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        prediction = make_prediction()
        return attrs.evolve(
            prediction,
            request_id=request_id,
            model=attrs.evolve(prediction.model, version=version or "1"),
            timings_ms={"network": 20.0},
        )

    def versions(self) -> tuple[LoadedVersion, ...]:
        """Those that a test names; the first is the default."""
        identities = [
            ModelIdentity(name="skin-lesion", version=version, backbone="b", bundle_digest="0" * 64)
            for version in self.loaded
        ]
        return tuple(
            LoadedVersion(identity=one, ready=1, wanted=1, is_default=one.version == self.loaded[0])
            for one in identities
        )

    def is_ready(self) -> bool:
        """As told."""
        return self.ready

    def restarts(self) -> Mapping[str, int]:
        """As told."""
        return self.restarted

    def load(self, archive: ArchiveInfo, *, is_wanted: Callable[[], bool] = always) -> None:
        """Nothing here loads."""

    def make_default(self, version: str) -> None:
        """Nothing here changes it."""

    def unload(self, version: str) -> None:
        """Nothing here unloads."""

    def stop(self) -> None:
        """Nothing is running."""

    async def close(self) -> None:
        """Nothing is open."""


def deployed(version: str) -> Deployed:
    """A version that is only a name."""
    return Deployed(
        version=version,
        model_name="skin-lesion",
        bundle_digest="0" * 64,
        serving_name="skin_vit",
        archive=f"{version}.mar",
        sha256=version * 8,
        source="a test",
    )


def make_label() -> Label:
    """A label of nothing in particular."""
    return Label(
        product="Lesion",
        product_version="0",
        notice=NOTICE,
        intended_use=("Tests.",),
        not_for=("Anything else.",),
        model="skin-lesion",
        model_version="1",
        bundle_digest="0" * 64,
        backbone="b",
        trained_on="drawn images",
        training_images=1,
        validation_images=1,
        weights_license="none",
        code_license="Apache-2.0",
        diagnoses=(DiagnosisLine(code="MEL", name="Melanoma", malignancy=Malignancy.MALIGNANT, is_trained=True),),
        metrics={"val_bma": Interval(value=0.5, low=0.4, high=0.6)},
        limits=Limits(
            formats=("image/jpeg",), image_bytes=1, image_pixels=1, request_bytes=4096, images=3, seconds=5.0
        ),
        card="# Card",
    )


class GatewayUnderTest:
    """An application and what stands behind it; the store is a real one."""

    def __init__(
        self,
        folder: Path,
        *,
        with_keys: bool = False,
        at_once: int = 4,
        local_token: str | None = None,
        max_body_bytes: int = 4096,
        max_images: int = 3,
        longest_wait_s: float = 1.5,
        deadline_s: float = 5.0,
        upload_s: float = 60.0,
    ) -> None:
        self.engine, self.metrics = FakeEngine(), Metrics()
        self.deployment: Deployment | None = Deployment(generation=1, champion=deployed("1"))
        self.deployments = DeploymentStore(folder / "deployment")
        self.keys = ApiKeys(folder / "keys.json", local_token=local_token)
        self.store = PredictionStore.open(
            f"sqlite:///{folder / 'predictions.db'}", anchors=folder / "anchors" / "heads.jsonl"
        )
        self.metrics.anchor_failed.set_function(lambda: self.store.anchor_failure is not None)
        self.asking = Asking(
            self.engine,
            Recording(StoreRecorder(self.store), self.metrics),
            Admission(at_once=at_once, longest_wait_s=longest_wait_s),
            self.metrics,
            deployment=lambda: self.deployment,
            deadline_s=deadline_s,
        )
        self.app: Starlette = create_app(
            Gateway(
                asking=self.asking,
                engine=self.engine,
                history=History(self.store, Atlases(folder / "atlases")),
                deployments=Deployments(self.deployments, self.engine),
                label=make_label,
                reporting=Reporting(self.store, self.deployments),
                metrics=self.metrics,
                keys=self.keys if with_keys else None,
                max_body_bytes=max_body_bytes,
                max_images=max_images,
                upload_s=upload_s,
            )
        )

    @property
    def kept(self) -> list[StoredPrediction]:
        """What the store holds, oldest first."""
        return list(self.store.predictions())

    def send(self, method: str, path: str, **request: object) -> httpx.Response:
        """One request and its answer."""

        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
                answer = await client.request(method, path, **request)  # type: ignore[arg-type]
            await self.asking.settle()
            return answer

        return asyncio.run(run())

    def ask(self, **request: object) -> httpx.Response:
        """One image."""
        return self.send("POST", "/v1/predictions", **{"content": IMAGE, "headers": JPEG, **request})


def problem_of(answer: httpx.Response) -> dict[str, object]:
    """The problem in an answer, which has to be whole."""
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, object] = answer.json()
    assert set(found) == {"type", "title", "status", "detail", "code", "request_id", "message", "schema_version"}
    assert found["status"] == answer.status_code
    return found
