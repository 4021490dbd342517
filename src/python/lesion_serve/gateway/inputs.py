"""What a client sends: one image as the whole body, or several in a form."""

from __future__ import annotations

import json
import re
from contextlib import aclosing
from datetime import UTC, datetime

import attrs
from starlette.datastructures import FormData, QueryParams, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from lesion_core.errors import LesionError
from lesion_core.imaging import MEDIA_TYPES
from lesion_core.service import HEAT_MAP_HEADER, METADATA_HEADER, SUBJECT_HEADER, SUBJECT_PATTERN
from lesion_serve.gateway.body import TooLargeError
from lesion_serve.gateway.question import Question
from lesion_serve.request_headers import RequestHeaderError, metadata_of
from lesion_serve.store import LONGEST_PAGE, UNREVIEWED, Search, Verdict

IMAGE_TYPES = ("application/octet-stream", *MEDIA_TYPES.values())
FORM = "multipart/form-data"
JSON = "application/json"
_FIELDS = ("images", "metadata", "heat_map", "subject")
LONGEST_TEXT_BYTES = 64 * 1024
LONGEST_FILTER = 64
BANDS = ("low", "intermediate", "high")
REVIEWS = (UNREVIEWED, *(verdict.value for verdict in Verdict))
_FILTERS = ("top", "version", "band", "review", "subject", "cursor")


class InputError(LesionError):
    """A request that cannot be understood. ``status`` is HTTP's."""

    code = "bad_request"

    def __init__(self, message: str, *, status: int = 400, code: str = "bad_request") -> None:
        super().__init__(message, code=code)
        self.status = status


@attrs.frozen(kw_only=True)
class Questions:
    """What a request asks. ``is_form``: it is answered with a list, even where it holds one image."""

    items: tuple[Question, ...]
    is_form: bool


@attrs.frozen(kw_only=True)
class _Told:
    """What a request's headers say; for a form they hold where it has no field of its own."""

    metadata: str | None
    heat_map: str | None
    subject: str | None


class _FormInMemory(MultiPartParser):
    """Reads a form without a temporary file: an image that is not to be kept never touches the disk.

    The middleware limits what a request may hold.
    """

    spool_max_size = 0  # for ``SpooledTemporaryFile``: no limit


async def json_body(request: Request) -> bytes:
    """The body of a request that holds JSON.

    It has to say so: a browser sends other types to any address for a page of anybody's, but asks before it sends JSON.

    Raises:
        InputError: it comes as something else (415).
        TooLargeError: it has more than ``LONGEST_TEXT_BYTES``.
    """
    if (media_type := _media_type(request.headers.get("content-type"))) != JSON:
        raise InputError(
            f"Send JSON with the header 'Content-Type: {JSON}'. Got {media_type or 'no content type'}.",
            status=415,
            code="unsupported_request",
        )
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_TEXT_BYTES:
            raise TooLargeError(LONGEST_TEXT_BYTES)
    return body


def read_search(given: QueryParams) -> Search:
    """Which predictions a query asks for.

    Raises:
        InputError: a filter is not known, or its value cannot be one.
    """
    if len(given.multi_items()) > len(given):
        raise InputError("Each filter is given once.")
    known = ("since", "until", *_FILTERS, "limit")
    if unknown := sorted(set(given) - set(known)):
        raise InputError(f"The query has filters that are not known: {', '.join(unknown)}. Known: {', '.join(known)}.")
    if odd := [name for name in _FILTERS if name in given and not 1 <= len(given[name]) <= LONGEST_FILTER]:
        raise InputError(f"{odd[0]!r} has 1 to {LONGEST_FILTER} characters; leave it out to find all.")
    _checked_subject(given.get("subject"))
    for name, possible in (("band", BANDS), ("review", REVIEWS)):
        if name in given and given[name] not in possible:
            raise InputError(f"{name!r} is one of {', '.join(possible)}; got {given[name]!r}.")
    texts = {name: given[name] for name in _FILTERS if name in given}
    limit = whole_number("limit", given.get("limit", "50"), most=LONGEST_PAGE)
    return Search(**texts, since=_time(given.get("since")), until=_time(given.get("until")), limit=limit)


def whole_number(name: str, text: str, *, most: int) -> int:
    """A count in a query, from 1 to ``most``.

    Raises:
        InputError: it is none.
    """
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= most:
        raise InputError(f"{name!r} is a whole number from 1 to {most}; got {text[:20]!r}.")
    return int(text)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"A time is ISO 8601, such as 2026-01-31 or 2026-01-31T12:00:00+00:00; got {text[:40]!r}."
        ) from error


async def read_questions(request: Request, *, max_images: int) -> Questions:
    """Read a request.

    Raises:
        InputError: its type is not one that is taken, or its parts are not as they should be.
        TooLargeError: it has too many bytes.
    """
    told = _Told(
        metadata=request.headers.get(METADATA_HEADER),
        heat_map=request.headers.get(HEAT_MAP_HEADER),
        subject=request.headers.get(SUBJECT_HEADER),
    )
    media_type = _media_type(request.headers.get("content-type"))
    if media_type == FORM:
        form = await _read_form(request, max_images=max_images)
        try:
            return Questions(items=await _from_form(form, request, told), is_form=True)
        finally:
            await form.close()
    if media_type not in IMAGE_TYPES:
        raise InputError(
            f"Send one image as the whole body, with one of the content types {', '.join(IMAGE_TYPES)}; or several as "
            f"parts 'images' of a form ({FORM}). Got {media_type or 'no content type'}.",
            status=415,
            code="unsupported_request",
        )
    headers = _heat_map_header(told.heat_map)
    if (row := _metadata_rows(told.metadata, 1, METADATA_HEADER)[0]) is not None:
        headers[METADATA_HEADER] = row
    question = Question(
        request_id=request.state.request_id,
        is_named=request.state.is_named,
        image=await request.body(),
        content_type=media_type,
        headers=headers,
        subject=_checked_subject(told.subject),
    )
    return Questions(items=(question,), is_form=False)


async def _read_form(request: Request, *, max_images: int) -> FormData:
    try:
        async with aclosing(request.stream()) as stream:
            parser = _FormInMemory(
                request.headers,
                stream,
                max_files=max_images,
                max_fields=len(_FIELDS),
                max_part_size=LONGEST_TEXT_BYTES,
            )
            return await parser.parse()
    except MultiPartException as error:
        raise InputError(f"The form cannot be read: {error.message}", code="bad_form") from error


async def _from_form(form: FormData, request: Request, told: _Told) -> tuple[Question, ...]:
    if unknown := sorted({name for name, _ in form.multi_items()} - set(_FIELDS)):
        raise InputError(f"The form has fields that are not known: {', '.join(unknown)}. Known: {', '.join(_FIELDS)}.")
    images = [item for item in form.getlist("images") if isinstance(item, UploadFile)]
    if not images or len(images) != len(form.getlist("images")):
        raise InputError("The form needs at least one file part 'images', and files only under that name.")
    # A field goes before the header of the same name, but a header that is wrong is wrong all the same.
    common = _heat_map_header(told.heat_map) | _heat_map_header(_text(form, "heat_map"))
    subject = _checked_subject(_text(form, "subject")) or _checked_subject(told.subject)
    rows = _metadata_rows(told.metadata, len(images), METADATA_HEADER)
    if (field := _text(form, "metadata")) is not None:
        rows = _metadata_rows(field, len(images), "The form's field 'metadata'")
    request_id = request.state.request_id
    return tuple(
        [
            Question(
                # One id a question: each of them is a record of its own.
                request_id=f"{request_id}-{number}" if len(images) > 1 else request_id,
                is_named=request.state.is_named,
                image=await image.read(),
                content_type=_image_type(image.content_type),
                headers=common if row is None else {**common, METADATA_HEADER: row},
                subject=subject,
            )
            for number, (image, row) in enumerate(zip(images, rows, strict=True), start=1)
        ]
    )


def _text(form: FormData, name: str) -> str | None:
    values = form.getlist(name)
    if len(values) > 1 or any(not isinstance(value, str) for value in values):
        raise InputError(f"The form's field {name!r} is one text.")
    return str(values[0]) if values else None


def _metadata_rows(text: str | None, count: int, where: str) -> list[str | None]:
    """The handler's header for each image: one object for all, or a list with one for each."""
    if text is None:
        return [None] * count
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}.", code="bad_metadata") from error
    rows = told if isinstance(told, list) else [told] * count
    if len(rows) != count:
        raise InputError(f"There are {count} images, but metadata for {len(rows)}.", code="bad_metadata")
    return [json.dumps(_checked_metadata(row, where)) for row in rows]


def _checked_metadata(row: object, where: str) -> dict[str, object]:
    try:
        metadata = metadata_of(row)
    except RequestHeaderError as error:
        raise InputError(error.message.replace(METADATA_HEADER, where), code=error.code) from error
    return {name: value for name, value in attrs.asdict(metadata).items() if value is not None}


def _heat_map_header(wish: str | None) -> dict[str, str]:
    """The handler's header, where there is a wish."""
    if wish not in (None, "true", "false"):
        raise InputError(f"A heat map is wanted, 'true', or not, 'false'; got {wish!r}.")
    return {} if wish is None else {HEAT_MAP_HEADER: wish}


def _checked_subject(text: str | None) -> str | None:
    if text is not None and not re.search(SUBJECT_PATTERN, text):
        raise InputError(
            "A subject is your own pseudonym for the patient: 1 to 64 letters, digits and '_.:-', with a letter or "
            "digit first. Never a name or a date of birth."
        )
    return text


def _image_type(given: str | None) -> str | None:
    """Browsers and programs name parts as they like; the bytes decide, so an unknown type is no reason to refuse."""
    media_type = _media_type(given)
    return media_type if media_type in IMAGE_TYPES else None


def _media_type(given: str | None) -> str:
    """What a ``Content-Type`` header names, without its parameters; empty where there is none."""
    return (given or "").split(";")[0].strip().lower()
