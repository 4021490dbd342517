"""Looking for predictions: newest first, page by page, by what they show."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import attrs
import pytest

from lesion_core.wire import to_json
from lesion_serve.store import FeedbackRecord, PredictionRecord, Principal, Role, Search, StoreError, Verdict, listing
from support.stored import CLINICIAN, START, make_answer, make_comment, make_record, open_store


def surely(number: int, code: str, *, band: str = "low", version: str = "1") -> PredictionRecord:
    """A record of an answer that is sure of ``code``."""
    answer = make_answer(number, version=version)
    probabilities = tuple(
        attrs.evolve(one, probability=1.0 if one.code == code else 0.0) for one in answer.probabilities
    )
    assert answer.risk is not None
    answer = attrs.evolve(answer, probabilities=probabilities, risk=attrs.evolve(answer.risk, band=band))
    return attrs.evolve(make_record(number, version=version), answer=to_json(answer))


def ids(page: object) -> list[str]:
    return [line.request_id for line in page.items]  # type: ignore[attr-defined]


def test_pages_go_back_in_time_and_end(tmp_path: Path) -> None:
    """Every prediction stands on one page, the newest first; shadows on none."""
    with open_store(tmp_path) as store:
        for number in range(5):
            store.append(make_record(number))
        store.append(make_record(9, role=Role.SHADOW))
        first = store.list(Search(limit=2))
        second = store.list(Search(limit=2, cursor=first.next))
        third = store.list(Search(limit=2, cursor=second.next))

    assert ids(first) == ["request-4", "request-3"]
    assert ids(second) == ["request-2", "request-1"]
    assert ids(third) == ["request-0"]
    assert third.next is None


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        (Search(top="MEL"), ["request-2"]),
        (Search(band="high"), ["request-3", "request-2"]),
        (Search(top="NV", band="low"), ["request-1"]),
        (Search(version="2"), ["request-0"]),
        (Search(subject="person-1"), ["request-1"]),
        (Search(key_id="key-8"), ["request-3"]),
        (Search(since=START + timedelta(minutes=2)), ["request-3", "request-2"]),
        (Search(until=START + timedelta(minutes=1)), ["request-0"]),
        (Search(review="other"), ["request-1"]),
        (Search(review="agree"), ["request-2"]),
        (Search(review="none"), ["request-3", "request-0"]),
        (Search(top="DF"), []),
    ],
)
def test_a_search_finds_what_fits(tmp_path: Path, search: Search, expected: list[str]) -> None:
    """By class, band, version, person, key, time and what was said."""
    with open_store(tmp_path) as store:
        store.append(surely(0, "AK", version="2"))
        store.append(surely(1, "NV"))
        store.append(surely(2, "MEL", band="high"))
        asked_by_another = attrs.evolve(
            surely(3, "BCC", band="high"), principal=Principal(key_id="key-8", role="clinician")
        )
        store.append(asked_by_another)
        store.append_feedback(make_comment(1))
        store.append_feedback(FeedbackRecord(request_id="request-2", principal=CLINICIAN, verdict=Verdict.AGREE))

        assert ids(store.list(search)) == expected


def test_a_remark_takes_no_verdict_back(tmp_path: Path) -> None:
    """The newest feedback with a diagnosis counts; agreeing names the answer's own."""
    with open_store(tmp_path) as store:
        store.append(surely(1, "NV"))
        store.append_feedback(FeedbackRecord(request_id="request-1", principal=CLINICIAN, verdict=Verdict.AGREE))
        remark = FeedbackRecord(
            request_id="request-1", principal=CLINICIAN, verdict=Verdict.COMMENT, comment="seen again in May"
        )
        store.append_feedback(remark)
        (line,) = store.list(Search()).items

    assert (line.review, line.diagnosis) == ("agree", "NV")


def test_a_search_that_fits_nothing_soon_ends_and_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One page reads a bounded number of events; the next one goes on where it stopped."""
    monkeypatch.setattr(listing, "PAGE", 2)
    monkeypatch.setattr(listing, "MOST_READ", 4)
    with open_store(tmp_path) as store:
        store.append(surely(0, "MEL"))
        for number in range(1, 6):
            store.append(surely(number, "NV"))
        first = store.list(Search(top="MEL"))
        second = store.list(Search(top="MEL", cursor=first.next))

    assert (ids(first), first.next is None) == ([], False)
    assert (ids(second), second.next) == (["request-0"], None)


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "9" * 40])
def test_a_cursor_that_is_none_is_refused(tmp_path: Path, cursor: str) -> None:
    """By name, before anything is read."""
    with open_store(tmp_path) as store, pytest.raises(StoreError) as caught:
        store.list(Search(cursor=cursor))

    assert caught.value.code == "bad_cursor"
