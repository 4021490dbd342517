"""Which version serves: ``lesion-serve deploy``, ``rollback``, ``withdraw`` and ``deployments``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
from cyclopts import App, Parameter

from lesion_core.errors import LesionError
from lesion_core.workspace import GATEWAY_PORT, Workspace
from lesion_serve.options import CHAMPION, AsJson, Percent, Port, Switch

if TYPE_CHECKING:
    from lesion_serve.deployment import Deployed, Deployment
    from lesion_serve.deployment_store import DeploymentStore, Transition

_SENTENCES = {
    "followed": "The server follows it.",
    "no_server": "No server runs; it is used at the next start.",
    "superseded": "The server has followed another change that came after it: see 'lesion-serve deployments'.",
}


def register(app: App) -> None:
    """Add the commands to the program."""
    for command in (deploy, rollback, withdraw, deployments):
        app.command(command)


def deploy(
    source: str = CHAMPION,
    *,
    role: Annotated[Literal["champion", "challenger"], Parameter(name="--as")] = "champion",
    share: Percent = 0.0,
    shadow: Switch = False,
    port: Port = GATEWAY_PORT,
    tracking_uri: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Let a version serve. A running server loads it beside the others and switches to it without losing a request.

    Example: lesion-serve deploy models:/skin-lesion/7 --as challenger --shadow

    Parameters
    ----------
    source
        A .mar file, a bundle's folder, models:/NAME@ALIAS or models:/NAME/VERSION. It is verified and kept here, so
        that neither the server nor a later start of it needs MLflow.
    role
        The champion answers; the one before stays loaded for 'lesion-serve rollback'. A challenger is loaded too.
    share
        Percentage of the requests that the challenger answers.
    shadow
        Ask the challenger along with the champion, for the record only.
    port
        Of the gateway of the server that it is for.
    tracking_uri
        MLflow server or database; the local database in .lesion by default.
    as_json
        Print as JSON.
    """
    from lesion_serve.deploy import Challenging
    from lesion_serve.deploy import deploy as deploy_source

    if role == "champion" and (share or shadow):
        raise LesionError("--share and --shadow are for a challenger: add --as challenger.", code="not_a_challenger")
    store = _store(port)
    challenging = Challenging(share_percent=share, shadow=shadow) if role == "challenger" else None
    change = deploy_source(
        store, source, workspace=Workspace.default(), tracking_uri=tracking_uri, challenging=challenging
    )
    _follow(store, change, as_json=as_json)


def rollback(*, port: Port = GATEWAY_PORT, as_json: AsJson = False) -> None:
    """Let the previous champion answer again. A second rollback undoes the first.

    Parameters
    ----------
    port
        Of the server.
    as_json
        Print as JSON.
    """
    from lesion_serve.deploy import roll_back

    store = _store(port)
    _follow(store, roll_back(store), as_json=as_json)


def withdraw(*, port: Port = GATEWAY_PORT, as_json: AsJson = False) -> None:
    """Take the challenger away.

    Parameters
    ----------
    port
        Of the server.
    as_json
        Print as JSON.
    """
    from lesion_serve.deploy import withdraw as withdraw_challenger

    store = _store(port)
    _follow(store, withdraw_challenger(store), as_json=as_json)


def deployments(*, port: Port = GATEWAY_PORT, as_json: AsJson = False) -> None:
    """Show what serves, and who changed it when.

    Parameters
    ----------
    port
        Of the server.
    as_json
        Print as JSON.
    """
    store = _store(port)
    deployment = store.read()
    if as_json:
        _print_json(deployment, history=[attrs.asdict(change) for change in store.history()])
        return
    if deployment is None:
        print(f"Nothing is deployed for port {port}.")
    else:
        _print_deployment(deployment)
    for change in store.history():
        print(
            f"  {change.at}  {change.by}  {change.action}: {change.before or 'nothing'} → {change.after or 'nothing'}"
        )


def _follow(store: DeploymentStore, change: Transition, *, as_json: bool) -> None:
    """Wait for the server, if one runs, and print what became of the change.

    Raises:
        ModelLoadError: it could not follow; the change is taken back.
    """
    from lesion_serve.outcome import follow_change

    outcome = follow_change(store, change)
    if as_json:
        _print_json(change.after, server=outcome.server, findings=dict(outcome.findings))
        return
    _print_deployment(change.after)
    for version, reason in sorted(outcome.findings.items()):
        print(f"Not loaded: version {version}: {reason}")
    print(_SENTENCES[outcome.server])


def _print_json(deployment: Deployment | None, **more: object) -> None:
    told = None if deployment is None else attrs.asdict(deployment)
    print(json.dumps({"deployment": told, **more}, ensure_ascii=False, indent=2))


def _print_deployment(deployment: Deployment) -> None:
    def line(role: str, one: Deployed | None, more: str = "") -> None:
        if one is not None:
            print(f"{role:10} version {one.version}{more}  bundle {one.bundle_digest[:16]}  from {one.source}")

    part = f", answers {deployment.share_percent:g} %" if deployment.share_percent else ""
    line("champion", deployment.champion)
    line("challenger", deployment.challenger, ", in the shadow" if deployment.shadow else part)
    line("previous", deployment.previous)


def _store(port: int) -> DeploymentStore:
    from lesion_serve.deployment_store import DeploymentStore

    return DeploymentStore.of(Workspace.default(), port)
