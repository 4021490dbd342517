"""A kept prediction as files: JSON and CSV, with the notice, versions and request id in each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from lesion_core import service
from lesion_core.service import DiagnosisLine, Line, Record, that_counts
from lesion_core.wire import NOTICE, Prediction
from lesion_ui import __version__

# What a spreadsheet runs, also in full width and after spaces that it leaves out.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
_BREAKS = ("\t", "\r", "\n")


def record_json(record: Record, *, now: datetime | None = None) -> str:
    """The whole record as the gateway gave it, under what a reader has to know first."""
    head = {"notice": NOTICE, "exported_at": _stamp(now), "exported_by": f"lesion-ui {__version__}"}
    return json.dumps({**head, "record": json.loads(service.to_json(record))}, ensure_ascii=False, indent=2) + "\n"


def record_csv(record: Record, *, now: datetime | None = None) -> str:
    """One row for the record: a table that can be laid under others."""
    said = that_counts(record.feedback)
    names = {one.code: one.name for one in record.prediction.probabilities}
    row = {
        "notice": NOTICE,
        "exported_at": _stamp(now),
        "request_id": record.request_id,
        "at": record.at,
        "subject": record.subject,
        "image_sha256": record.image_sha256,
        **prediction_row(record.prediction),
        "verdict": said and said.verdict,
        "diagnosis": said and said.diagnosis,
        "diagnosis_name": said and names.get(said.diagnosis or ""),
        "source": said and said.source,
        "comment": " | ".join(one.comment for one in record.feedback if one.comment),
    }
    return to_csv([row])


def prediction_row(prediction: Prediction) -> dict[str, object]:
    """The numbers of an answer, by column."""
    risk = prediction.risk
    names = {one.code: one.name for one in prediction.probabilities}
    return {
        "model": prediction.model.name,
        "model_version": prediction.model.version,
        "bundle_digest": prediction.model.bundle_digest,
        "top": prediction.top.code,
        "top_name": prediction.top.name,
        "probability": round(prediction.top.probability, 6),
        **{f"p_{one.code}": round(one.probability, 6) for one in prediction.probabilities},
        "risk": None if risk is None else round(risk.probability, 6),
        "band": None if risk is None else risk.band,
        "is_outside": prediction.out_of_distribution.is_outside,
        "conformal_set": " ".join(prediction.conformal_set.codes),
        "conformal_set_names": " | ".join(names.get(code, code) for code in prediction.conformal_set.codes),
        "coverage": prediction.conformal_set.coverage,
        "quality": prediction.quality_grade,
        "findings": " ".join(finding.code for finding in prediction.quality),
    }


def lines_csv(lines: Iterable[Line], known: Mapping[str, Mapping[str, DiagnosisLine]]) -> str:
    """A list of predictions, one row each, with the names that ``known`` has of a version's codes."""
    rows = []
    for line in lines:
        names = {code: one.name for code, one in known.get(line.model_version, {}).items()}
        row = {"notice": NOTICE, **json.loads(service.to_json(line))}
        row |= {"top_name": names.get(line.top), "diagnosis_name": names.get(line.diagnosis or "")}
        rows.append(row)
    return to_csv(rows)


def to_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as CSV with a header: the columns of all rows, in order. All is quoted, and no cell is a formula."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def file_name(request_id: str, suffix: str) -> str:
    """``lesion-<request id>.<suffix>``, with nothing in it that a file system reads."""
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in request_id)
    return f"lesion-{safe[:64]}.{suffix}"


def _cell(value: object) -> object:
    if isinstance(value, str) and (value.startswith(_BREAKS) or value.lstrip().startswith(_FORMULA)):
        return f"'{value}"
    return "" if value is None else value


def _stamp(now: datetime | None) -> str:
    return (now or datetime.now(UTC)).isoformat(timespec="seconds")
