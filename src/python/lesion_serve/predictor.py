"""The predictor: bytes of an image → a prediction. The one class behind every way of serving."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import cv2
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from lesion_core.bundle import REFERENCE, Bundle, load_bundle
from lesion_core.decision.decide import Decisions, decide
from lesion_core.decision.metadata import PatientMetadata, encode_metadata
from lesion_core.decision.ood import NetworkOutput
from lesion_core.decision.parameters import DecisionParameters
from lesion_core.decision.triage import band_of
from lesion_core.drift_reference import DRIFT, Projection, embedding_to_text, read_projection
from lesion_core.preprocess import decode_for, normalise, resize_square
from lesion_core.quality import findings_of
from lesion_core.quality_measures import QualityMeasures, measure_quality
from lesion_core.views import views_of
from lesion_core.wire import (
    ClassProbability,
    ConformalSet,
    Features,
    HeatMap,
    MalignancyRisk,
    ModelIdentity,
    OutOfDistribution,
    Prediction,
    QualityFinding,
    describe,
)
from lesion_plugins.registry import BackboneRegistry
from lesion_serve.heat_map import draw_heat_map, evidence_for
from lesion_serve.network import Engine, NetworkAnswer, load_network


class Predictor:
    """A loaded bundle that answers. Not for several threads at once: one predictor a worker."""

    def __init__(
        self,
        bundle: Bundle,
        registry: BackboneRegistry,
        *,
        version: str,
        threads: int = 1,
        engine: Engine = "auto",
    ) -> None:
        cv2.setNumThreads(threads)
        manifest = bundle.manifest
        self._manifest = manifest
        self._network = load_network(bundle, registry, engine=engine, threads=threads)
        self._reference = safetensors.numpy.load(bundle.read(REFERENCE))
        # What makes embeddings comparable with the bundle's sample; older bundles have none.
        self._projection = read_projection(bundle.read(DRIFT)) if DRIFT in manifest.files else None
        self.identity = ModelIdentity(
            name=manifest.name, version=version, backbone=manifest.backbone.name, bundle_digest=bundle.digest
        )

    @property
    def engine(self) -> str:
        """What the network runs in: ``onnx`` or ``torch``."""
        return self._network.engine

    @classmethod
    def load(cls, folder: Path, *, version: str, threads: int = 1, engine: Engine = "auto") -> Predictor:
        """Verify and load the bundle in ``folder``.

        Args:
            folder: a bundle.
            version: the registered version, as answers shall name it.
            threads: of the network on the CPU, and of OpenCV.
            engine: what the network runs in; see ``load_network``. The attribute ``engine`` says which it became.
        Raises:
            BundleError: the bundle is not intact.
            PluginMissingError, PluginVersionError: its backbone's plugin is not here in a version that serves it.
            OnnxError: ``onnx`` was asked for and cannot be had.
        """
        return cls(load_bundle(folder), BackboneRegistry.load(), version=version, threads=threads, engine=engine)

    def warm_up(self) -> None:
        """Run the network once, so that the first request is as fast as the others."""
        side = self._manifest.preprocess.input_size_px
        self._run(np.zeros((side, side, 3), np.uint8))

    def predict(
        self,
        data: bytes,
        *,
        metadata: PatientMetadata | None = None,
        heat_map: bool = False,
        features: bool = False,
        request_id: str | None = None,
    ) -> Prediction:
        """Answer for one image.

        Args:
            data: bytes of an image file, as ``decode_image`` accepts it.
            metadata: age, sex and site where they are known; used where the model was measured with them.
            heat_map: also draw where the network finds evidence for the most probable trained diagnosis. The network
                has what it takes at hand after every answer, so nothing is computed unless it is asked for.
            features: answer with a ``DescribedPrediction``, for whoever keeps the record, where the bundle has what
                that takes.
            request_id: named in the answer; a new one where it is ``None``.
        Raises:
            ImageError: the bytes are not an acceptable image.
        """
        timings: dict[str, float] = {}
        spec = self._manifest.preprocess
        with _timed(timings, "decode"):
            image = decode_for(data, spec)
        with _timed(timings, "quality"):
            measures = measure_quality(image)
            quality = findings_of(measures)
        with _timed(timings, "preprocess"):
            square = resize_square(image, spec)
        with_metadata = None if metadata is None else self._manifest.decision_with_metadata
        parameters = with_metadata or self._manifest.decision
        with _timed(timings, "network"):
            answer = self._run(square, metadata)
        output = _mean(answer.output)
        with _timed(timings, "decision"):
            decisions = decide(
                output,
                parameters=parameters,
                reference=self._reference,
                taxonomy=self._manifest.taxonomy,
                metadata=None if metadata is None or parameters.metadata is None else [metadata],
            )
        drawn = None
        if heat_map and answer.feature_map is not None:
            with _timed(timings, "heat_map"):
                drawn = self._draw(square, answer.feature_map, decisions)
        answered = self._answer(decisions, parameters, quality, timings, drawn, request_id or uuid.uuid4().hex)
        if not features or self._projection is None:
            return answered
        with _timed(timings, "features"):
            return describe(answered, self._features(self._projection, output, parameters, decisions, measures))

    def _features(
        self,
        projection: Projection,
        output: NetworkOutput,
        parameters: DecisionParameters,
        decisions: Decisions,
        measures: QualityMeasures,
    ) -> Features:
        alone = decisions
        if parameters.metadata is not None:  # drift is compared with answers to images alone
            alone = decide(
                output,
                parameters=self._manifest.decision,
                reference=self._reference,
                taxonomy=self._manifest.taxonomy,
            )
        return Features(
            embedding_base64=embedding_to_text(projection(output.embeddings)[0]),
            probabilities=tuple(alone.probabilities[0].tolist()),
            quality=attrs.asdict(measures),
        )

    def _draw(self, square: NDArray[np.uint8], feature_maps: NDArray[np.float32], decisions: Decisions) -> HeatMap:
        top = int(decisions.top_trained[0])  # none of the above has no logit that could be explained
        evidence = evidence_for(
            self._network.head_weight[top],
            feature_maps,
            views=self._manifest.preprocess.views,
            side_px=len(square),
        )
        code = self._manifest.taxonomy.trained_codes[top]
        return draw_heat_map(square, evidence, code=code, is_additive=self._network.is_pooled_by_mean)

    def _run(self, square: NDArray[np.uint8], metadata: PatientMetadata | None = None) -> NetworkAnswer:
        """What the network says of every view, ``(V, …)``."""
        spec, sites = self._manifest.preprocess, self._manifest.metadata_sites
        views = np.concatenate(list(views_of(square[None], spec.views)))
        known = None
        if sites is not None:  # the network has been told in training that nothing may be known
            rows = encode_metadata([metadata or PatientMetadata()], sites).astype(np.float32)
            known = rows.repeat(len(views), axis=0)
        return self._network.run(normalise(views, spec), known)

    def _answer(
        self,
        decisions: Decisions,
        parameters: DecisionParameters,
        quality: tuple[QualityFinding, ...],
        timings: dict[str, float],
        heat_map: HeatMap | None,
        request_id: str,
    ) -> Prediction:
        taxonomy = self._manifest.taxonomy
        score = float(decisions.strangeness[0])
        members = zip(taxonomy.trained_codes, decisions.conformal[0], strict=True)
        return Prediction(
            request_id=request_id,
            model=self.identity,
            probabilities=tuple(
                ClassProbability(
                    code=diagnosis.code,
                    name=diagnosis.name,
                    malignancy=diagnosis.malignancy,
                    probability=float(probability),
                    plain=diagnosis.plain,
                    codes=diagnosis.codes,
                )
                for diagnosis, probability in zip(taxonomy.diagnoses, decisions.probabilities[0], strict=True)
            ),
            out_of_distribution=OutOfDistribution(
                detector=parameters.ood.detector,
                score=score,
                threshold=parameters.ood.threshold,
                is_outside=score > parameters.ood.threshold,
            ),
            conformal_set=ConformalSet(
                codes=tuple(code for code, is_member in members if is_member), coverage=parameters.conformal.coverage
            ),
            risk=_malignancy_risk(float(decisions.risk[0]), parameters) if parameters.triage else None,
            quality=quality,
            timings_ms=timings,
            heat_map=heat_map,
        )


def _mean(output: NetworkOutput) -> NetworkOutput:
    """Over the views."""
    return NetworkOutput(
        logits=output.logits.mean(axis=0, keepdims=True), embeddings=output.embeddings.mean(axis=0, keepdims=True)
    )


def _malignancy_risk(risk: float, parameters: DecisionParameters) -> MalignancyRisk:
    bands = parameters.triage
    band = band_of(risk, bands)
    malignant = sum(item.malignant for item in bands)
    return MalignancyRisk(
        probability=risk,
        band=band.name,
        lower=band.lower,
        upper=min((item.lower for item in bands if item.lower > band.lower), default=1.0),
        sensitivity=parameters.operating_points[0].wanted_sensitivity,
        images=band.malignant + band.not_malignant,
        malignant=band.malignant,
        prevalence=malignant / (malignant + sum(item.not_malignant for item in bands)),
    )


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[stage] = round(1000 * (time.perf_counter() - started), 3)
