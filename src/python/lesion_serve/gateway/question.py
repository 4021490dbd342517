"""One image, as it was asked about."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen(kw_only=True)
class Question:
    """One image and what is asked of it.

    Attributes:
        request_id: of this image; names it in answer, record and log.
        is_named: whether the client chose that id, and may have used it before.
        image: bytes of an image file.
        content_type: of ``image``; ``None`` where it is not known.
        headers: further ones for the handler, such as what is known of the patient.
        subject: the caller's own pseudonym for the patient, or ``None``.
    """

    request_id: str
    is_named: bool = False
    image: bytes
    content_type: str | None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    subject: str | None = None
