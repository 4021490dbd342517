"""``lesion-serve start``: an engine, the gateway in front of it, and the record of what it answers."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from cyclopts import App

from lesion_core.errors import LesionError
from lesion_core.logs import configure_logging
from lesion_core.workspace import GATEWAY_PORT, SERVE_PORT, Endpoint, Workspace
from lesion_serve.options import CHAMPION, AtLeastOne, NotNegative, Port, Positive

if TYPE_CHECKING:
    from lesion_serve.deployment import Deployment
    from lesion_serve.deployment_store import DeploymentStore
    from lesion_serve.engine.engine import Engine
    from lesion_serve.engine.torchserve_layout import TorchServeSettings

EngineName = Literal["torchserve", "in-process"]


def register(app: App) -> None:
    """Add the command to the program."""
    app.command(start)


def start(
    source: str | None = None,
    *,
    port: Port = GATEWAY_PORT,
    host: str = "127.0.0.1",
    workers: AtLeastOne = 1,
    engine: EngineName = "torchserve",
    keys: bool = True,
    keys_file: Path | None = None,
    certificate: Path | None = None,
    private_key: Path | None = None,
    store: str | None = None,
    anchors: Path | None = None,
    keep_images: Path | None = None,
    image_key: Path | None = None,
    keep_images_days: Positive | None = None,
    keep_features_days: Positive | None = None,
    deadline_s: Positive | None = None,
    longest_wait_s: NotNegative | None = None,
    max_images: AtLeastOne | None = None,
    max_request_mib: AtLeastOne | None = None,
    serving_name: str | None = None,
    torchserve_port: Port = SERVE_PORT,
    management_port: Port | None = None,
    metrics_port: Port | None = None,
    tracking_uri: str | None = None,
    java: Path | None = None,
) -> None:
    """Serve a model; stays up until Ctrl-C. Every answer is written down before it leaves.

    Example: lesion-serve start models:/skin-lesion@champion --workers 2

    Parameters
    ----------
    source
        A .mar file, a bundle's folder, models:/NAME@ALIAS or models:/NAME/VERSION: becomes the champion of this port.
        Without it, what is deployed for this port serves, else the registered champion.
    port
        Of the gateway: POST /v1/predictions.
    host
        Address that the gateway listens on. Others than loopback need a certificate and keys.
    workers
        Processes of each version that answer, one thread each; as many as there are cores is best.
    engine
        torchserve, or predictors in threads of this program: for a laptop, and to try things.
    keys
        Whether clients need an API key; --no-keys is for loopback only. See 'lesion-serve keys'.
    keys_file
        API keys; keys.json in .lesion by default.
    certificate
        PEM file: TLS.
    private_key
        PEM file of the certificate's key.
    store
        Address of the prediction store: sqlite:///FILE or postgresql+pg8000://…; predictions.db in .lesion by default.
    anchors
        File that notes the heads of the store's chain, better on another disk; beside the database by default.
    keep_images
        Folder to keep the images in, encrypted; without it none is kept.
    image_key
        File of the key for them: 'lesion-serve audit new-key FILE' makes one.
    keep_images_days
        Days after which the server erases a kept image, at its start and then daily; without it they are kept until
        'lesion-serve audit retention' or 'erase'.
    keep_features_days
        Days after which it erases what monitoring keeps of an image, whether the image itself is kept or not; as many
        as for images by default, and without both until 'lesion-serve audit retention' or 'erase'.
    deadline_s
        Seconds that the answer for an image may take from its turn on, its record included; 20 by default.
    longest_wait_s
        Seconds that a request may wait for those before it; 1.5 by default. More of them wait then, and fewer are told
        to come again.
    max_images
        Images that a request may hold; 16 by default.
    max_request_mib
        Size of a request in MiB; 80 by default.
    serving_name
        Of TorchServe's own address: /predictions/SERVING_NAME. An archive keeps the name that it was packed with.
    torchserve_port
        Of TorchServe's own address on loopback. It takes one image with the token in .lesion/serving/torchserve.json,
        and writes nothing down.
    management_port
        Of TorchServe's management address, on loopback; a free one by default.
    metrics_port
        Of its metrics address, on loopback; a free one by default.
    tracking_uri
        MLflow server or database; the local database in .lesion by default.
    java
        A Java runtime from version 11 on; by default JAVA_HOME's, the system's, or the one that comes along.
    """
    from lesion_serve.deployment_store import DeploymentStore
    from lesion_serve.engine.torchserve_layout import TorchServeSettings
    from lesion_serve.follower import Follower
    from lesion_serve.gateway.retention import Retention
    from lesion_serve.gateway.server import listen, open_store, run_gateway
    from lesion_serve.gateway.settings import GatewaySettings

    configure_logging()
    workspace = Workspace.default()
    settings = GatewaySettings.of(
        workspace,
        host=host,
        port=port,
        certificate=certificate,
        private_key=private_key,
        keys_file=keys_file,
        needs_key=keys,
        store_url=store,
        anchors=anchors,
        image_folder=keep_images,
        image_key=image_key,
        keep_images_days=keep_images_days,
        keep_features_days=keep_features_days,
        deadline_s=deadline_s,
        longest_wait_s=longest_wait_s,
        max_images=max_images,
        max_request_mib=max_request_mib,
    )
    torchserve = TorchServeSettings(
        port=torchserve_port, workers=workers, management_port=management_port, metrics_port=metrics_port, java=java
    )
    deployments = DeploymentStore.of(workspace, port)
    with contextlib.ExitStack() as stack:
        stack.enter_context(deployments.served())
        listening = stack.enter_context(listen(settings))
        for path in (workspace.endpoint, workspace.torchserve_endpoint):
            _forget_the_dead(path)
        records = stack.enter_context(open_store(settings))
        if settings.features_days is not None:
            images_days = settings.keep_images_days
            stack.callback(Retention(records, images_days=images_days, features_days=settings.features_days).stop)
        deployment = _deployed(deployments, source, workspace, tracking_uri, serving_name)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            running = _start_engine(engine, deployments, deployment, torchserve, workspace, stack)
            follower = Follower(running, deployments)
            follower.start(deployment)  # its other versions are loaded while the champion answers
            stack.callback(follower.stop)

            def ready(endpoint: Endpoint) -> None:
                endpoint.save(workspace.endpoint)
                stack.callback(_forget, workspace.endpoint, endpoint)
                print(
                    f"Serving: {endpoint.url}  (Ctrl-C stops it)\n  {_example(endpoint, settings.needs_key)}",
                    flush=True,
                )

            run_gateway(
                running,
                follower,
                deployments,
                records,
                settings,
                listening=listening,
                workers=workers,
                on_ready=ready,
            )
        except KeyboardInterrupt:
            print("Stopping.")


def _deployed(
    deployments: DeploymentStore, source: str | None, workspace: Workspace, tracking_uri: str | None, name: str | None
) -> Deployment:
    from lesion_serve.deploy import deploy

    deployment = deployments.read()
    if source is None and deployment is not None:
        return deployment
    return deploy(
        deployments,
        source or CHAMPION,
        workspace=workspace,
        tracking_uri=tracking_uri,
        serving_name=name,
        afresh=True,
    ).after


def _start_engine(
    name: EngineName,
    deployments: DeploymentStore,
    deployment: Deployment,
    torchserve: TorchServeSettings,
    workspace: Workspace,
    stack: contextlib.ExitStack,
) -> Engine:
    """The engine with its champion loaded; ``stack`` ends it."""
    from lesion_serve.engine.in_process import InProcessEngine
    from lesion_serve.engine.torchserve import TorchServeEngine

    champion = deployment.champion
    archive = deployments.archive_of(champion)
    print(f"Starting {name} with {champion.model_name} version {champion.version}…", flush=True)
    if name == "in-process":
        threads = InProcessEngine(threads=torchserve.workers)
        stack.callback(threads.stop)
        threads.load(archive)
        return threads
    path = workspace.torchserve_endpoint
    running = TorchServeEngine.start(
        archive,
        torchserve,
        serving=workspace.serving,
        on_endpoint=lambda endpoint: endpoint.save(path),
    )
    stack.callback(running.stop)
    stack.callback(lambda: _forget(path, running.endpoint))
    return running


def _example(endpoint: Endpoint, needs_key: bool) -> str:
    key = '-H "Authorization: Bearer $KEY" ' if needs_key else ""
    hint = "  KEY: lesion-serve keys create NAME --role clinician" if needs_key else ""
    trust, url = "", endpoint.url
    if endpoint.certificate is not None:
        trust = f"--cacert {endpoint.certificate} "
    if endpoint.server_name is not None:
        at = urlsplit(url)
        trust += f"--connect-to ::{at.hostname}: "
        url = at._replace(netloc=f"{endpoint.server_name}:{at.port}").geturl()
    return f"curl {trust}{key}-H 'Content-Type: image/jpeg' --data-binary @image.jpg {url}{hint}"


def _forget(path: Path, endpoint: Endpoint) -> None:
    """Remove the description of a server that stops, but not the one of another that was started after it."""
    with contextlib.suppress(LesionError):
        if Endpoint.load(path) == endpoint:
            path.unlink(missing_ok=True)


def _forget_the_dead(path: Path) -> None:
    """Remove the description of a server that ended without doing it itself: nobody listens where it says."""
    try:
        endpoint = Endpoint.load(path)
        address = urlsplit(endpoint.url)
        socket.create_connection((str(address.hostname), address.port or 0), timeout=2).close()
    except (LesionError, OSError, ValueError):
        path.unlink(missing_ok=True)
