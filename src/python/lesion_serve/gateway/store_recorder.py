"""Answers into the prediction store, as the gateway keeps them."""

from __future__ import annotations

import hashlib

from lesion_core.wire import Prediction
from lesion_serve.gateway.keys import Principal
from lesion_serve.gateway.question import Question
from lesion_serve.store import PredictionRecord, PredictionStore, Role
from lesion_serve.store import Principal as StoredPrincipal


class StoreRecorder:
    """Writes each answer down; the image too where the store was opened to keep images. From any thread."""

    def __init__(self, store: PredictionStore) -> None:
        self._store = store

    def require_new(self, request_id: str) -> None:
        """Make sure that no answer was recorded under this id.

        Raises:
            StoreError: ``duplicate_request``, or the store cannot be read.
        """
        self._store.require_new(request_id)

    def record(self, question: Question, principal: Principal, prediction: Prediction, *, is_shadow: bool) -> None:
        """Keep it; it is on the disk when this returns. File names are not kept: they often name a person.

        Raises:
            StoreError: it could not be kept.
        """
        record = PredictionRecord.of(
            prediction,
            principal=stored_principal(principal),
            image_sha256=hashlib.sha256(question.image).hexdigest(),
            image_bytes=len(question.image),
            role=Role.SHADOW if is_shadow else Role.ANSWERED,
            subject=question.subject,
            timings_ms=prediction.timings_ms,
        )
        # A challenger sees the image that the champion has answered for: it is kept once.
        keeps = self._store.keeps_images and not is_shadow
        self._store.append(record, question.image if keeps else None)


def stored_principal(principal: Principal) -> StoredPrincipal:
    """Who acted, as the store writes it: without the name, which may be a person's."""
    return StoredPrincipal(key_id=principal.key_id, role=principal.role.value)
