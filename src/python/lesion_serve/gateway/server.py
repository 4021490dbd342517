"""A whole server: the store, an engine that follows the deployment, and the gateway in front of both."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
import uvicorn
from starlette.applications import Starlette

from lesion_core.errors import LesionError
from lesion_core.service import Label
from lesion_core.workspace import Endpoint
from lesion_serve.atlas import Atlases
from lesion_serve.deployment import Deployment
from lesion_serve.deployment_store import DeploymentStore
from lesion_serve.engine.engine import Engine, EngineDownError
from lesion_serve.follower import Follower
from lesion_serve.gateway.admission import Admission
from lesion_serve.gateway.app import create_app
from lesion_serve.gateway.asking import Asking
from lesion_serve.gateway.connection import ConnectionLimits, limited
from lesion_serve.gateway.deployments import Deployments
from lesion_serve.gateway.ending import GRACE_S, Server
from lesion_serve.gateway.gateway import Gateway
from lesion_serve.gateway.history import History
from lesion_serve.gateway.keys import ApiKeys
from lesion_serve.gateway.label import label_of
from lesion_serve.gateway.metrics import Metrics
from lesion_serve.gateway.recording import Recording
from lesion_serve.gateway.reporting import Reporting
from lesion_serve.gateway.settings import GatewaySettings
from lesion_serve.gateway.store_recorder import StoreRecorder
from lesion_serve.store import ImageKey, ImageStore, PredictionStore

BACKLOG = 2048

log = structlog.get_logger()


class PortUnavailableError(LesionError):
    """The gateway cannot listen there."""

    code = "port_unavailable"


def run_gateway(
    engine: Engine,
    follower: Follower,
    deployments: DeploymentStore,
    store: PredictionStore,
    settings: GatewaySettings,
    *,
    listening: socket.socket,
    workers: int,
    on_ready: Callable[[Endpoint], None],
) -> None:
    """Answer until SIGINT or SIGTERM, then answer what was taken on, for ``GRACE_S`` at most.

    Args:
        engine: answers.
        follower: says what of the deployment is loaded.
        deployments: where its archives lie.
        store: for the records.
        settings: how it is started.
        listening: from ``listen``.
        workers: images that the engine works on at the same time.
        on_ready: called once it listens, with the address and the token for programs of this user on this machine.
    """
    token = secrets.token_urlsafe(32)
    metrics = Metrics()
    metrics.anchor_failed.set_function(lambda: store.anchor_failure is not None)
    keys = ApiKeys(settings.keys_file, local_token=token) if settings.needs_key else None
    asking = Asking(
        engine,
        Recording(StoreRecorder(store), metrics),
        Admission(at_once=workers, longest_wait_s=settings.longest_wait_s),
        metrics,
        deployment=lambda: follower.current,
        deadline_s=settings.deadline_s,
    )
    body_bytes = settings.max_request_mib * 2**20

    def label() -> Label:
        champion = _loaded(follower.current).champion
        return label_of(
            deployments.path_of(champion),
            digest=champion.bundle_digest,
            version=champion.version,
            request_bytes=body_bytes,
            images=settings.max_images,
            seconds=settings.deadline_s,
        )

    app = create_app(
        Gateway(
            asking=asking,
            engine=engine,
            history=History(store, Atlases(settings.atlases)),
            deployments=Deployments(deployments, engine),
            label=label,
            reporting=Reporting(store, deployments),
            metrics=metrics,
            keys=keys,
            max_body_bytes=body_bytes,
            max_images=settings.max_images,
        )
    )
    Server(_config(app, settings, metrics), lambda: on_ready(settings.local_endpoint(token))).run(sockets=[listening])


@contextlib.contextmanager
def listen(settings: GatewaySettings) -> Iterator[socket.socket]:
    """Take the port, so that no other program has it while the model is loaded; who connects meanwhile waits.

    Raises:
        PortUnavailableError: another program has it, or the address is not one of this machine.
    """
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        taken = socket.socket(family, socket.SOCK_STREAM)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((settings.host, settings.port))
        taken.listen(BACKLOG)  # one that is only bound can be taken by another
    except OSError as error:
        raise PortUnavailableError(
            f"The gateway cannot listen on {settings.host}, port {settings.port}: {error}. Choose another with --port "
            "or --host, or stop the program that has it."
        ) from error
    with contextlib.closing(taken):
        yield taken


@contextlib.contextmanager
def open_store(settings: GatewaySettings) -> Iterator[PredictionStore]:
    """The store that the settings name; closed at the end.

    Raises:
        StoreError: it cannot be used; nothing may be answered then.
    """
    images = None
    if settings.image_folder is not None and settings.image_key is not None:
        key = ImageKey.load(settings.image_key, images=settings.image_folder)
        images = ImageStore(folder=settings.image_folder, key=key)
    with PredictionStore.open(settings.store_url, anchors=settings.anchors, images=images) as store:
        yield store


def _config(app: Starlette, settings: GatewaySettings, metrics: Metrics) -> uvicorn.Config:
    def text(path: Path | None) -> str | None:
        return None if path is None else str(path)

    return uvicorn.Config(
        app,
        http=limited(ConnectionLimits(), lambda code: metrics.refused.labels(code=code).inc()),
        ws="none",
        ssl_certfile=text(settings.certificate),
        ssl_keyfile=text(settings.private_key),
        log_config=None,
        access_log=False,  # the middleware writes a line with the request's id
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=75,
    )


def _loaded(deployment: Deployment | None) -> Deployment:
    if deployment is None:
        raise EngineDownError("No model is loaded yet.")
    return deployment
