"""Reports out of a filled prediction store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import attrs
import numpy as np
import pytest

from lesion_core.interval import proportion_interval
from lesion_core.monitoring import MonitoringReport
from lesion_core.service import from_json, to_json
from lesion_serve.monitor.agreement import compare_with_shadow, feedback_scores
from lesion_serve.monitor.page import render_page
from lesion_serve.monitor.reading import independent, read_seen
from lesion_serve.monitor.report import MonitorError, Wanted, make_report
from lesion_serve.store import PredictionStore, Role, Source, Window
from support.monitored import baseline, fill, review
from support.samples import draw_sample
from support.stored import START, make_record, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PredictionStore]:
    with open_store(tmp_path) as opened:
        yield opened


def alarms(report: MonitoringReport) -> set[str]:
    return {check.name for check in report.checks if check.is_alarm}


def test_a_report_counts_what_the_store_holds(store: PredictionStore) -> None:
    """Classes, bands, days and stages add up to the predictions."""
    sample = draw_sample(70, seed=3)
    fill(store, sample)

    report = make_report(store, Wanted(), baseline())

    assert report.predictions == 70
    assert report.model_version == "1"
    for counts in (report.classes, report.bands, report.quality):
        assert sum(counts.values()) == 70
    assert report.outside is not None
    assert report.outside.value == pytest.approx((sample.strangeness > 2.0).mean())
    assert [(day.date, day.predictions) for day in report.days] == [("2026-03-01", 70)]
    stages = {one.stage: one for one in report.latency}
    assert stages["network"].p50_ms == pytest.approx(54.5)
    assert (report.since, report.until) == (START.isoformat(), report.created_at)
    assert alarms(report) == set()
    assert from_json(to_json(report), MonitoringReport) == report


def test_drift_is_found_in_the_window_only(store: PredictionStore) -> None:
    """By time and by count, since the last sixty images are different."""
    fill(store, draw_sample(60, seed=3))
    fill(store, draw_sample(60, seed=4, shift=2.0), first=60)
    middle = START + timedelta(minutes=60)

    def found(wanted: Wanted) -> set[str]:
        return alarms(make_report(store, wanted, baseline()))

    assert found(Wanted(until=middle)) == set()
    assert found(Wanted(since=middle)) == {"embedding"}
    assert found(Wanted(last=60)) == {"embedding"}
    assert make_report(store, Wanted(last=60), baseline()).since == middle.isoformat()


def test_a_patient_s_images_count_once(store: PredictionStore) -> None:
    """One person, photographed sixty times, is no drift; nor is one image that was sent again."""
    fill(store, draw_sample(40, seed=3))
    odd = draw_sample(1, seed=5, shift=9.0)
    fill(store, odd.take(np.zeros(60, dtype=np.int64)), first=40, subject="one-patient")

    seen = read_seen(store.database, Window())
    report = make_report(store, Wanted(), baseline())

    assert len(independent(store.database, seen)) == 41
    assert {check.images for check in report.checks} == {41}
    assert alarms(report) == set()


def test_a_report_says_why_nothing_could_be_compared(store: PredictionStore) -> None:
    """No reference; another bundle; a server that kept no features."""
    fill(store, draw_sample(5, seed=3), version="1")
    store.append(make_record(99, version="2"))
    other = attrs.evolve(baseline(), bundle_digest="cd" * 32)

    said = [
        make_report(store, wanted, against).checks[0].sentence
        for wanted, against in (
            (Wanted(version="1"), None),
            (Wanted(version="1"), other),
            (Wanted(version="2"), baseline()),
        )
    ]

    assert "holds no sample" in said[0]
    assert "of another bundle" in said[1]
    assert "kept none" in said[2]


def test_an_empty_window_is_an_error(store: PredictionStore) -> None:
    """With what to try."""
    for wanted in (Wanted(), Wanted(version="7")):
        with pytest.raises(MonitorError, match="--since") as raised:
            make_report(store, wanted, None)
        assert raised.value.code == "no_predictions"


def test_the_newest_version_is_reported_on_unless_another_is_named(store: PredictionStore) -> None:
    """Answers of one version never stand in the report of another."""
    fill(store, draw_sample(4, seed=3), version="1")
    fill(store, draw_sample(3, seed=4), first=4, version="2")

    assert make_report(store, Wanted(), None).predictions == 3
    assert make_report(store, Wanted(version="1"), None).predictions == 4


def test_feedback_counts_the_last_word_and_histology_before_all(store: PredictionStore) -> None:
    """A comment is no diagnosis; who agrees names the answer's own."""
    requests = fill(store, draw_sample(4, seed=3))
    seen = {one.request_id: one for one in read_seen(store.database, Window())}
    tops = [seen[request].top for request in requests]
    wrong = ["NV" if top != "NV" else "BCC" for top in tops]
    review(store, requests[0], wrong[0])
    review(store, requests[0])  # on second thoughts
    review(store, requests[1], wrong[1], source=Source.HISTOLOGY)
    review(store, requests[1])  # somebody who has not read the pathologist's report
    review(store, requests[2], wrong[2])

    scores = feedback_scores(read_seen(store.database, Window()), minimum=3)

    assert (scores.reviewed, scores.histology) == (3, 1)
    assert scores.accuracy is not None
    assert scores.accuracy.value == pytest.approx(1 / 3)
    assert set(scores.disagreements) == {requests[1], requests[2]}
    assert seen[scores.disagreements[0]].probability >= seen[scores.disagreements[1]].probability
    assert sum(one.images for one in scores.classes) == 3


def test_scores_on_few_reviews_are_not_told(store: PredictionStore) -> None:
    """Each number has a minimum; the counts are told all the same."""
    requests = fill(store, draw_sample(6, seed=3))
    for request in requests:
        review(store, request, "MEL")
    seen = read_seen(store.database, Window())

    few, enough = feedback_scores(seen, minimum=7), feedback_scores(seen, minimum=6)

    assert few.reviewed == 6
    assert (few.accuracy, few.ece, few.malignant_sensitivity, few.classes[0].sensitivity) == (None,) * 4
    assert enough.malignant_sensitivity is not None
    assert enough.malignant_sensitivity.value == pytest.approx(sum(one.band != "low" for one in seen) / 6)
    missed = [attrs.evolve(one, band="low") for one in seen]
    assert feedback_scores(missed, minimum=6).malignant_sensitivity == proportion_interval(0, 6)
    assert enough.ece is not None
    hits = np.mean([one.top == "MEL" for one in seen])
    assert enough.ece.value >= abs(np.mean([one.probability for one in seen]) - hits) - 1e-9


def test_a_challenger_is_compared_on_the_same_images(store: PredictionStore) -> None:
    """Agreement and differences are of images that both answered; the sign says who is better."""
    sample = draw_sample(50, seed=3)
    requests = fill(store, sample)
    other = attrs.evolve(sample, probabilities=np.roll(sample.probabilities, 1, axis=1))
    fill(store, other.take(np.arange(40)), version="2", role=Role.SHADOW)
    for request in requests[:35]:
        review(store, request)  # the champion is always right

    (found,) = make_report(store, Wanted(version="1"), None).comparisons

    assert (found.challenger, found.images, found.reviewed) == ("2", 40, 35)
    assert found.agreement is not None
    assert found.agreement.value == 0.0
    assert found.accuracy_difference is not None
    assert found.accuracy_difference.value == -1.0
    champion, challenger = (np.float64(one.probabilities[:40, :2]).sum(axis=1) for one in (sample, other))
    assert found.risk_difference is not None
    assert found.risk_difference.value == pytest.approx((challenger - champion).mean(), abs=1e-5)
    assert found.risk_difference.low < found.risk_difference.value < found.risk_difference.high
    assert compare_with_shadow([], []) is None


class Page(HTMLParser):
    """What a browser would fetch or run, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [str(value) for name, value in attributes if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_fetches_and_runs_nothing_and_escapes_all(store: PredictionStore) -> None:
    """Also where a version, which a person names, looks like a script."""
    fill(store, draw_sample(40, seed=4, shift=3.0))
    report = make_report(store, Wanted(), baseline())
    assert alarms(report) == {"embedding"}
    named = attrs.evolve(report, model_version="<script>alert(1)</script>")

    page = Page(render_page(named))

    assert page.fetched == []
    assert not page.tags & {"script", "img", "iframe", "link", "object"}
    assert "<script>alert(1)</script>" in page.text
    assert "A classifier tells the window's images" in page.text
    assert "Research use only" in page.text
    assert json.loads(to_json(report))["predictions"] == 40
