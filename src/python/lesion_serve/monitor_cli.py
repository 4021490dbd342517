"""The commands of ``lesion-serve monitor``: report, watch, cases. Nothing leaves unless a rules file says where to."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from lesion_core.workspace import GATEWAY_PORT, Workspace
from lesion_serve.audit_cli import kept_images, opened_store, utc
from lesion_serve.options import AsJson, AtLeastOne, Port, Positive, Switch

if TYPE_CHECKING:
    from lesion_core.monitoring import MonitoringReport
    from lesion_serve.monitor.report import Baseline
    from lesion_serve.store import PredictionStore

ALARM_EXIT_CODE = 1

monitor = App(name="monitor", help="Watch a model after deployment: drift, feedback, challengers, alerts.")


@monitor.command
def report(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    last: AtLeastOne | None = None,
    version: str | None = None,
    bundle: Path | None = None,
    against_since: datetime | None = None,
    against_until: datetime | None = None,
    out: Path | None = None,
    as_json: AsJson = False,
    port: Port = GATEWAY_PORT,
    store: str | None = None,
    anchors: Path | None = None,
) -> None:
    """Report on a window of predictions: drift, delayed labels, challengers in the shadow, latency.

    Example: lesion-serve monitor report --last 500 --out report

    Ends with exit code 0, or 1 where a check alarms.

    Parameters
    ----------
    since
        From this time on, in UTC unless it has a zone.
    until
        Up to but without this time.
    last
        Only so many predictions, the newest.
    version
        That answered; the champion by default, and where nothing is deployed the one of the newest prediction.
    bundle
        What the window is compared with: a bundle's folder or a .mar; what is deployed by default.
    against_since
        Compare with an earlier window of the same model instead, from this time on …
    against_until
        … up to but without this time.
    out
        Folder for report.json and report.html.
    as_json
        Print it as JSON.
    port
        Of the gateway whose champion is looked at, and whose deployment is compared with.
    store
        Address of the database; predictions.db in .lesion by default.
    anchors
        File of the heads that were noted; beside the database by default.
    """
    from lesion_core.service import to_json
    from lesion_serve.monitor.report import Wanted, make_report
    from lesion_serve.monitor.watch import write_report

    version = version or _champion(port)
    wanted = Wanted(since=utc(since), until=utc(until), last=last, version=version)
    with opened_store(store, anchors) as opened:
        baseline = _baseline(opened, bundle, port, version, utc(against_since), utc(against_until))
        made = make_report(opened, wanted, baseline)
    if out is not None:
        write_report(made, out)
    print(to_json(made) if as_json else _summary(made))
    if any(check.is_alarm for check in made.checks):
        sys.exit(ALARM_EXIT_CODE)


@monitor.command
def watch(
    *,
    out: Path,
    every_minutes: Positive = 60.0,
    once: Switch = False,
    last: AtLeastOne = 500,
    version: str | None = None,
    rules: Path | None = None,
    bundle: Path | None = None,
    port: Port = GATEWAY_PORT,
    store: str | None = None,
    anchors: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Report again and again, and alarm where the rules say so; every alert is an event of the store's log.

    Example: lesion-serve monitor watch --out monitoring --every-minutes 60 --rules rules.toml

    Where the champion has answered nothing yet, as after a promotion, it says so, and that is no error.

    Parameters
    ----------
    out
        Folder for the newest report.json and report.html, and for what the rules look back on.
    every_minutes
        Time between two reports.
    once
        One round, for a timer of the system.
    last
        Predictions that a report looks at, the newest.
    version
        That answered; the champion by default, and where nothing is deployed the one of the newest prediction.
    rules
        A TOML file of rules and of where alerts go; by default four rules, and nowhere.
    bundle
        What is compared with: a bundle's folder or a .mar; what is deployed by default.
    port
        Of the gateway whose champion is looked at, and whose deployment is compared with.
    store
        Address of the database; predictions.db in .lesion by default.
    anchors
        File of the heads that were noted; beside the database by default.
    as_json
        Print each report as JSON, one line each.
    """
    from lesion_core.errors import LesionError
    from lesion_core.service import to_json
    from lesion_serve.monitor.alerts import Alerting
    from lesion_serve.monitor.errors import MonitorError
    from lesion_serve.monitor.report import Wanted
    from lesion_serve.monitor.watch import watch_once

    alerting = Alerting() if rules is None else Alerting.load(rules)

    def look() -> None:
        asked = version or _champion(port)  # another one after a promotion
        wanted = Wanted(last=last, version=asked)
        try:
            with opened_store(store, anchors) as opened:
                made = watch_once(opened, wanted, _baseline(opened, bundle, port, asked), alerting, out)
        except MonitorError as error:
            if version is not None or error.code != "no_predictions":
                raise
            print(_nothing_yet(asked, as_json=as_json), flush=True)
        else:
            print(to_json(made) if as_json else _summary(made), flush=True)

    while True:
        started = time.monotonic()
        try:
            look()
        except LesionError as error:
            if once:
                raise
            print(f"lesion-serve: {error}", file=sys.stderr, flush=True)  # the next round may find it mended
        if once:
            return
        time.sleep(max(1.0, 60 * every_minutes - (time.monotonic() - started)))


@monitor.command
def cases(
    *,
    out: Path,
    since: datetime | None = None,
    until: datetime | None = None,
    version: str | None = None,
    agreed: Switch = False,
    histology_only: Switch = False,
    images: Path | None = None,
    image_key: Path | None = None,
    store: str | None = None,
    anchors: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Export answers that were judged otherwise, as a data set for 'lesion-train fit --data OUT'.

    Example: lesion-serve monitor cases --out corrected --images /data/images --image-key /keys/images

    Parameters
    ----------
    out
        A new folder. It shows patients: keep it as you keep their files.
    since
        Predictions from this time on, in UTC unless it has a zone.
    until
        Up to but without this time.
    version
        That answered; all by default.
    agreed
        Also answers that were judged right.
    histology_only
        Only diagnoses by histology.
    images
        Folder of kept images; without it there is a table only.
    image_key
        Their key.
    store
        Address of the database; predictions.db in .lesion by default.
    anchors
        File of the heads that were noted; beside the database by default.
    as_json
        Print as JSON.
    """
    from lesion_serve.monitor.cases import export_cases
    from lesion_serve.store import Window

    window = Window(since=utc(since), until=utc(until), model_version=version)
    with opened_store(store, anchors, kept_images(images, image_key)) as opened:
        done = export_cases(opened, window, out, agreed=agreed, histology_only=histology_only)
    if as_json:
        print(json.dumps({"table": str(out / "cases.csv"), "cases": done.cases, "images": done.images}))
        return
    print(f"{done.cases} cases in {out / 'cases.csv'}, {done.images} of them with their image.")
    if not done.images:
        print(
            "No image was kept, so there is nothing to train on yet. The table names the sha256 of each image: look "
            "for them where they came from. 'lesion-serve start --keep-images DIR' keeps images from now on."
        )


def _summary(made: MonitoringReport) -> str:
    lines = [
        f"{made.predictions} predictions of version {made.model_version}, {made.since} to {made.until}; "
        f"{made.feedback.reviewed} reviewed."
    ]
    for one in made.checks:
        lines.append(f"  {'ALARM' if one.is_alarm else '':5} {one.name} ({one.statistic}): {one.sentence}")
    lines += [f"  {one.state}: {one.message}" for one in made.alerts[:3]]
    return "\n".join(lines)


def _nothing_yet(version: str | None, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"model_version": version, "predictions": 0})
    who = "Nothing was answered" if version is None else f"Version {version} has answered nothing"
    return f"{who} yet: there is nothing to report on."


def _champion(port: int) -> str | None:
    from lesion_serve.deployment_store import DeploymentStore
    from lesion_serve.monitor import reference

    return reference.champion_of(DeploymentStore.of(Workspace.default(), port))


def _baseline(
    store: PredictionStore,
    bundle: Path | None,
    port: int,
    version: str | None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Baseline | None:
    from lesion_serve.deployment_store import DeploymentStore
    from lesion_serve.monitor import reference
    from lesion_serve.monitor.errors import MonitorError
    from lesion_serve.store import Role, Window

    if bundle is not None:
        found = reference.baseline_of(bundle)
    else:
        found = reference.baseline_of_deployed(DeploymentStore.of(Workspace.default(), port), version)
    if since is None and until is None:
        return found
    if found is None:
        raise MonitorError(
            "Which model the earlier window has to be of is not known: name its bundle with --bundle.",
            code="no_reference",
        )
    return reference.baseline_of_window(store, Window(since=since, until=until, role=Role.ANSWERED), found)
