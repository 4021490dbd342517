"""Commands that decide which model is served: compare, promote, rollback, promotions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from lesion_core.workspace import REGISTERED_NAME, Workspace
from lesion_train.options import AsJson, Switch

if TYPE_CHECKING:
    from lesion_train.promotion import Gate, Moved

REFUSED_EXIT_CODE = 4
promotion = App()


@promotion.command
def promote(
    version: str,
    *,
    name: str = REGISTERED_NAME,
    tracking_uri: str | None = None,
    max_ece: float | None = None,
    override: Switch = False,
    why: str = "",
) -> None:
    """Make a version champion if it passes the gates; ends with exit code 4 where it does not.

    Example: lesion-train promote challenger

    The bundle has to be intact and the model card complete, the calibration error within its limit, and balanced
    accuracy and sensitivity for melanoma not worse than the champion's beyond the paired bootstrap interval, on the
    same images. The change is kept in the promotion log of the workspace: 'lesion-train promotions' shows it.

    Parameters
    ----------
    version
        Number or alias of a version.
    name
        Name of the registered model.
    tracking_uri
        MLflow server or database; the local database by default.
    max_ece
        Highest expected calibration error; 0.10 by default.
    override
        Promote although gates failed. Needs --why. An altered bundle is never promoted.
    why
        Reason, for the log.
    """
    from lesion_train import promotion as rules

    workspace = Workspace.default()
    try:
        moved = rules.promote(
            version,
            name=name,
            tracking_uri=tracking_uri or workspace.mlflow_database,
            workspace=workspace,
            max_ece=rules.MAX_ECE if max_ece is None else max_ece,
            override=override,
            why=why,
        )
    except rules.PromotionRefusedError as error:
        _print_gates(error.gates)
        raise
    _print_gates(moved.gates)
    _print_moved(moved, "promoted")


@promotion.command
def rollback(*, name: str = REGISTERED_NAME, tracking_uri: str | None = None, why: str = "") -> None:
    """Return to the champion before this one; again, to the one before that.

    Example: lesion-train rollback --why "misses melanomas on the scalp"

    Parameters
    ----------
    name
        Name of the registered model.
    tracking_uri
        MLflow server or database; the local database by default.
    why
        Reason, for the log.
    """
    from lesion_train import promotion as rules

    workspace = Workspace.default()
    moved = rules.rollback(
        name=name, tracking_uri=tracking_uri or workspace.mlflow_database, workspace=workspace, why=why
    )
    _print_gates(moved.gates)
    _print_moved(moved, "rolled back")


@promotion.command
def promotions(*, name: str = REGISTERED_NAME, as_json: AsJson = False) -> None:
    """List every change of the champion that this workspace made: who, when, from, to, why, and what the gates said.

    Parameters
    ----------
    name
        Name of the registered model.
    as_json
        One JSON object a line, with the figures of the gates.
    """
    import attrs

    from lesion_train.promotion_log import ABANDONED, PromotionLog

    path = Workspace.default().promotions
    changes = PromotionLog(path).changes(name) if path.exists() else ()  # to look makes no file
    for change in changes:
        if as_json:
            print(json.dumps(attrs.asdict(change)))
            continue
        failed = [str(gate["name"]) for gate in change.gates if not gate["has_passed"]]
        notes = [
            *([f"OVERRIDDEN: {', '.join(failed)}"] if change.is_overridden else []),
            *(["OUTCOME NOT NOTED"] if change.outcome is None else []),
            *([f"NOT DONE: {change.outcome}"] if change.outcome == ABANDONED else []),
        ]
        print(
            f"{change.made_at[:19]}Z  {change.who}  {change.action.value:8}  "
            f"{change.from_version or '-'} -> {change.to_version}  {change.why}"
            + (f"  [{'; '.join(notes)}]" if notes else "")
        )
    if not changes and not as_json:
        print(f"No changes of the champion of {name} were made from this workspace.")


@promotion.command
def compare(first: str, second: str, *, name: str = REGISTERED_NAME, tracking_uri: str | None = None) -> None:
    """Measure two models on the same held-out images, side by side; the differences are paired, by lesion or patient.

    Example: lesion-train compare champion challenger

    Parameters
    ----------
    first
        Version number, alias, or folder of a run.
    second
        Another; a positive difference means that it has more.
    name
        Name of the registered model.
    tracking_uri
        MLflow server or database; the local database by default.
    """
    import tempfile

    from lesion_train.contender import Contender, pair
    from lesion_train.tracking.fetch import fetch_version
    from lesion_train.tracking.registry import Registry

    workspace = Workspace.default()

    def contender(reference: str, scratch: str) -> Contender:
        if Path(reference).is_dir():
            return Contender.from_run(Path(reference))
        registry = Registry.existing(tracking_uri or workspace.mlflow_database, workspace, name)
        return fetch_version(registry, reference, Path(scratch))

    with tempfile.TemporaryDirectory(prefix="lesion-first-") as one, tempfile.TemporaryDirectory() as two:
        both = pair(a := contender(first, one), b := contender(second, two))
    images, lesions = len(both.first.labels), len(set(both.first.lesions.tolist()))
    print(
        f"Part '{both.part}': {images:,} images of {lesions:,} lesions. 95 % intervals, bootstrap by lesion or patient."
    )
    print(f"  A = {a.label}\n  B = {b.label}")
    print(f"{'':16} {'A':22} {'B':22} B - A")
    for metric in both.metrics():
        row = both.difference(metric)
        shown = [f"{i.value:.3f} ({i.low:.3f}–{i.high:.3f})" for i in (row.first, row.second)]
        gap = row.difference
        mark = "" if gap.low <= 0 <= gap.high else "  *"
        print(f"{metric:16} {shown[0]:22} {shown[1]:22} {gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}){mark}")
    print("* the interval of the difference does not contain 0")


def _print_gates(gates: Iterable[Gate]) -> None:
    for gate in gates:
        print(f"{'passed' if gate.has_passed else 'FAILED'}  {gate.name}: {gate.sentence}")


def _print_moved(moved: Moved, verb: str) -> None:
    before = f"version {moved.from_version}" if moved.from_version else "none"
    print(f"models:/{moved.model}@champion {verb}: {before} -> version {moved.to_version}")
