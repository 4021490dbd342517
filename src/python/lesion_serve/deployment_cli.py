"""Which version serves: ``lesion-serve deploy``, ``rollback``, ``withdraw`` and ``deployments``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from lesion_core.errors import LesionError
from lesion_core.workspace import GATEWAY_PORT, Workspace

if TYPE_CHECKING:
    from lesion_serve.deployment import Deployed, Deployment
    from lesion_serve.deployment_store import DeploymentStore

CHAMPION = "models:/skin-lesion@champion"

Port = Annotated[int, Parameter(validator=Number(gte=1, lte=65535))]
Percent = Annotated[float, Parameter(validator=Number(gte=0, lte=100))]


def register(app: App) -> None:
    """Add the commands to the program."""
    for command in (deploy, rollback, withdraw, deployments):
        app.command(command)


def deploy(
    source: str = CHAMPION,
    *,
    role: Annotated[Literal["champion", "challenger"], Parameter(name="--as")] = "champion",
    share: Percent = 0.0,
    shadow: bool = False,
    port: Port = GATEWAY_PORT,
    tracking_uri: str | None = None,
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
    """
    from lesion_serve.deploy import Challenging
    from lesion_serve.deploy import deploy as deploy_source

    if role == "champion" and (share or shadow):
        raise LesionError("--share and --shadow are for a challenger: add --as challenger.", code="not_a_challenger")
    store = _store(port)
    before = store.read()
    challenging = Challenging(share_percent=share, shadow=shadow) if role == "challenger" else None
    after = deploy_source(
        store, source, workspace=Workspace.default(), tracking_uri=tracking_uri, challenging=challenging
    )
    _follow(store, before, after)


def rollback(*, port: Port = GATEWAY_PORT) -> None:
    """Let the previous champion answer again. A second rollback undoes the first.

    Parameters
    ----------
    port
        Of the server.
    """
    from lesion_serve.deploy import roll_back

    store = _store(port)
    before = store.read()
    _follow(store, before, roll_back(store))


def withdraw(*, port: Port = GATEWAY_PORT) -> None:
    """Take the challenger away.

    Parameters
    ----------
    port
        Of the server.
    """
    from lesion_serve.deploy import withdraw as withdraw_challenger

    store = _store(port)
    before = store.read()
    _follow(store, before, withdraw_challenger(store))


def deployments(*, port: Port = GATEWAY_PORT) -> None:
    """Show what serves, and who changed it when.

    Parameters
    ----------
    port
        Of the server.
    """
    store = _store(port)
    deployment = store.read()
    if deployment is None:
        print(f"Nothing is deployed for port {port}.")
    else:
        _print_deployment(deployment)
    for change in store.history():
        print(
            f"  {change.at}  {change.by}  {change.action}: {change.before or 'nothing'} → {change.after or 'nothing'}"
        )


def _follow(store: DeploymentStore, before: Deployment | None, after: Deployment) -> None:
    """Wait for the server, if one runs; take the change back where it cannot follow.

    Raises:
        ModelLoadError: it could not load what is new, or the champion does not answer.
    """
    from lesion_serve.deploy import take_back, wait_until_served
    from lesion_serve.engine.engine import ModelLoadError

    needed = {after.champion.version} | ({one.version for one in after.all} - _versions(before))
    report = wait_until_served(store, after, needed)
    if report is None:
        _print_deployment(after)
        print("No server runs; it is used at the next start.")
        return
    if report.generation > after.generation:
        print("The server has followed another change that came after this one: see 'lesion-serve deployments'.")
        return
    failed = sorted(needed & report.findings.keys())
    if failed or report.default != after.champion.version:
        take_back(store, after, before)
        reasons = " ".join(f"Version {version}: {report.findings[version]}" for version in failed)
        raise ModelLoadError(f"The server goes on with version {report.default}. {reasons}")
    _print_deployment(after)
    for version, reason in sorted(report.findings.items()):
        print(f"Not loaded: version {version}: {reason}")
    print("The server follows it.")


def _versions(deployment: Deployment | None) -> set[str]:
    return {one.version for one in deployment.all} if deployment else set()


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
