"""What a running server makes of a change: wait until it follows, and take the change back where it cannot."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Literal

import attrs

from lesion_serve.deployment import Deployment, DeploymentError
from lesion_serve.deployment_store import DeploymentStore, Report, Transition
from lesion_serve.engine.engine import ModelLoadError

FOLLOW_TIMEOUT_S = 300.0


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of a change.

    Attributes:
        server: ``followed``; ``no_server`` runs; ``superseded``: it follows another change that came after this one.
        findings: versions that it could not load, none of which the change is about, and why.
    """

    server: Literal["followed", "no_server", "superseded"]
    findings: Mapping[str, str] = attrs.field(factory=dict)


def follow_change(store: DeploymentStore, change: Transition, *, by: str | None = None) -> Outcome:
    """Wait until the running server follows a change; take the change back where it cannot.

    Args:
        store: of the server.
        change: as the store made it.
        by: whom the history names where it is taken back; the user of this process where it is ``None``.
    Raises:
        ModelLoadError: the server could not load what is new, or its champion does not answer; the change is undone.
        DeploymentError: ``not_followed``: it runs and says nothing.
    """
    before, after = change.before, change.after
    needed = {after.champion.version} | (_versions(after) - _versions(before))
    report = wait_until_served(store, after, needed)
    if report is None:
        return Outcome(server="no_server")
    if report.generation != after.generation:
        return Outcome(server="superseded", findings=report.findings)
    failed = sorted(needed & report.findings.keys())
    if failed or report.default != after.champion.version:
        take_back(store, change, by=by)
        reasons = " ".join(f"Version {version}: {report.findings[version]}" for version in failed)
        undone = "" if before is None else " The change is undone: mend this, and make it again."
        raise ModelLoadError(
            f"The server goes on with version {report.default}. {reasons or 'Its log says why.'}{undone}"
        )
    return Outcome(server="followed", findings=report.findings)


def take_back(store: DeploymentStore, failed: Transition, *, by: str | None = None) -> None:
    """Undo a change that a server could not follow, unless another one came after it. For ``by`` see ``follow_change``.

    Without a deployment before there is nothing to go back to, and the change stays.
    """
    if (before := failed.before) is not None:
        store.change("failed", lambda now: before if now is None or now == failed.after else now, by=by)


def wait_until_served(
    store: DeploymentStore, deployment: Deployment, needed: Collection[str] | None = None
) -> Report | None:
    """Wait until the running server has followed a change.

    Args:
        store: of the server.
        deployment: after the change.
        needed: versions to wait for; all of them where it is ``None``.
    Returns:
        What it says of this change, or of one that came after it; ``None`` where no server runs.
    Raises:
        DeploymentError: ``not_followed``: it runs and says nothing.
    """
    deadline = time.monotonic() + FOLLOW_TIMEOUT_S
    while time.monotonic() < deadline:
        if not store.is_served():
            return None
        report = store.report()
        pending = set(report.pending) if report else set()
        waits_for = pending if needed is None else pending & set(needed)
        if report is not None and report.generation >= deployment.generation and not waits_for:
            return report
        time.sleep(0.05)
    raise DeploymentError(
        f"The server has not followed within {FOLLOW_TIMEOUT_S:.0f} s and goes on trying; its log says what keeps it.",
        code="not_followed",
    )


def _versions(deployment: Deployment | None) -> set[str]:
    return {one.version for one in deployment.all} if deployment else set()
