"""Predictions that were given: looked up, and judged by clinicians."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import attrs
import msgspec

from lesion_core.drift_reference import embedding_from_text
from lesion_core.service import Feedback, Page, Record, SimilarCase, SimilarCases
from lesion_serve.atlas import AtlasError, Atlases
from lesion_serve.gateway.inputs import InputError
from lesion_serve.gateway.keys import Permission, Principal
from lesion_serve.gateway.messages import Agree, Comment, FeedbackBody, Other
from lesion_serve.gateway.store_recorder import stored_principal
from lesion_serve.store import (
    FeedbackRecord,
    PredictionStore,
    Search,
    Source,
    StoredFeedback,
    StoredPrediction,
    StoreError,
    Verdict,
)

_VERDICTS: dict[type, Verdict] = {Agree: Verdict.AGREE, Other: Verdict.OTHER, Comment: Verdict.COMMENT}


class History:
    """Answers from the store. Its methods wait for the database, so an event loop hands them to a thread."""

    def __init__(self, store: PredictionStore, atlases: Atlases) -> None:
        self._store = store
        self._atlases = atlases

    def record(self, request_id: str, principal: Principal) -> Record:
        """One prediction with its feedback.

        Raises:
            StoreError: ``no_prediction``: there is none, or it is not this key's to see; a caller is not told which.
        """
        found = self._visible(request_id, principal)
        return Record(
            request_id=found.request_id,
            at=found.at.isoformat(),
            key_id=found.principal.key_id,
            position=found.position,
            digest=found.digest,
            image_sha256=found.image_sha256,
            image_bytes=found.image_bytes,
            subject=found.subject,
            erased=found.erased,
            prediction=found.prediction,
            feedback=tuple(_feedback(one) for one in found.feedback),
        )

    def similar(self, request_id: str, principal: Principal) -> SimilarCases:
        """Reference images that are like the one of a prediction.

        Raises:
            AtlasError: ``no_atlas``, ``bad_atlas``; ``no_features``: nothing was kept to compare the image by.
            StoreError: ``no_prediction``, as ``record``.
        """
        found = self._visible(request_id, principal)
        atlas = self._atlases.of(found.prediction.model.bundle_digest)
        if (features := self._store.features(found)) is None:
            raise AtlasError("Nothing was kept to compare this image by, or it was erased.", code="no_features")
        return SimilarCases(
            request_id=request_id,
            source=atlas.source,
            images=len(atlas),
            agreement=atlas.agreement,
            cases=tuple(
                SimilarCase(
                    diagnosis=one.diagnosis, distance=one.distance, jpeg_base64=base64.b64encode(one.jpeg).decode()
                )
                for one in atlas.nearest(embedding_from_text(features.embedding_base64))
            ),
        )

    def page(self, search: Search, principal: Principal) -> Page:
        """Predictions that fit, newest first: those of the same key, unless it may read all.

        Raises:
            StoreError: ``bad_cursor``.
        """
        if not principal.may(Permission.READ_ALL):
            search = attrs.evolve(search, key_id=principal.key_id)
        return self._store.list(search)

    def add_feedback(self, request_id: str, body: bytes, principal: Principal) -> Feedback:
        """Keep what a clinician says; it is on the disk when this returns.

        Args:
            request_id: of a prediction of the same key.
            body: JSON of a ``FeedbackBody``.
            principal: who says it.
        Raises:
            InputError: the body is not such a message, or names a diagnosis that the answer does not know.
            StoreError: ``no_prediction``, or it could not be kept.
        """
        try:
            said = msgspec.json.decode(body, type=FeedbackBody)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _refused(f'Feedback is JSON such as {{"verdict": "agree"}}: {error}.') from error
        answered = self._visible(request_id, principal).prediction
        diagnosis = said.diagnosis if isinstance(said, Other) else None
        codes = [one.code for one in answered.probabilities]
        if diagnosis is not None and diagnosis not in codes:
            raise _refused(f"The diagnosis is one of {', '.join(codes)}; got {diagnosis!r}.")
        try:
            record = FeedbackRecord(
                request_id=request_id,
                principal=stored_principal(principal),
                verdict=_VERDICTS[type(said)],
                diagnosis=diagnosis,
                comment=said.comment,
                source=Source.CLINICAL if isinstance(said, Comment) else Source(said.source),
                at=datetime.now(UTC),
            )
        except StoreError as error:  # text that no database takes
            raise _refused(error.message) from error
        self._store.append_feedback(record)
        return Feedback(
            at=record.at.isoformat(),
            key_id=principal.key_id,
            verdict=record.verdict.value,
            diagnosis=record.diagnosis,
            comment=record.comment,
            source=record.source.value,
        )

    def _visible(self, request_id: str, principal: Principal) -> StoredPrediction:
        found = self._store.prediction(request_id)
        if found.principal.key_id != principal.key_id and not principal.may(Permission.READ_ALL):
            raise StoreError(f"There is no prediction {request_id!r} (answered).", code="no_prediction")
        return found


def _refused(reason: str) -> InputError:
    return InputError(reason, status=422, code="bad_feedback")


def _feedback(one: StoredFeedback) -> Feedback:
    return Feedback(
        at=one.at.isoformat(),
        key_id=one.principal.key_id,
        verdict=one.verdict.value,
        diagnosis=one.diagnosis,
        comment=one.comment,
        source=one.source.value,
    )
