"""A Ray Serve application that answers as TorchServe does, on many hosts. Ray is an optional extra.

It takes the bytes of one image with the handler's headers, and answers with the wire's JSON. As TorchServe's own
address, it writes nothing down; unlike that it knows no token, so it belongs on loopback or into a closed network. The
command that starts it stands in the README of this package.
"""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

import attrs
from starlette.requests import Request
from starlette.responses import Response

from lesion_core.processes import ONE_THREAD
from lesion_core.wire import Problem, to_json
from lesion_serve.archive import read_archive
from lesion_serve.engine.engine import BusyError, DeadlineError, EngineError, RefusedError
from lesion_serve.engine.in_process import InProcessEngine
from lesion_serve.ray_cluster import RayError, import_ray

TIMEOUT_S = 20.0
QUEUE = 32  # requests that wait for a replica beyond the one in work


def _count(value: object) -> int:
    """Ray gives texts; 1.5 shall not become 1."""
    if not re.fullmatch(r"[1-9][0-9]{0,5}", str(value)):
        raise RayError(f"replicas is a whole number from 1 on, got {value!r}.", code="bad_replicas")
    return int(str(value))


@attrs.frozen(kw_only=True)
class RaySettings:
    """How the application runs.

    Attributes:
        archive: a ``.mar`` that every host can read at this path.
        replicas: processes of one thread that answer.
    Raises:
        RayError: ``bad_replicas``.
    """

    archive: Path = attrs.field(converter=Path)
    replicas: int = attrs.field(default=1, converter=_count)


class Replica:
    """One process that answers: the engine of a laptop, in a cluster."""

    def __init__(self, archive: Path) -> None:
        self._engine = InProcessEngine(threads=1, queue_size=QUEUE)
        self._engine.load(read_archive(archive))

    async def __call__(self, request: Request) -> Response:
        """Answer one request, with a prediction or a problem and its status."""
        request_id = request.headers.get("X-Request-ID") or uuid.uuid4().hex
        if request.method != "POST":
            return _problem(405, "bad_method", "Send the bytes of one image by POST.", request_id)
        headers = dict(request.headers)
        try:
            prediction = await self._engine.predict(
                await request.body(),
                request_id=request_id,
                timeout_s=TIMEOUT_S,
                content_type=headers.pop("content-type", None),
                headers=headers,
            )
        except RefusedError as error:
            return _problem(error.status, error.code, error.message, request_id)
        except DeadlineError as error:
            return _problem(504, error.code, error.message, request_id)
        except BusyError as error:
            return _problem(503, error.code, error.message, request_id)
        except EngineError as error:
            return _problem(500, error.code, error.message, request_id)
        return Response(to_json(prediction), media_type="application/json")


def application(arguments: dict[str, Any]) -> Any:
    """What ``serve run`` builds.

    Args:
        arguments: see ``RaySettings``.
    Raises:
        RayError: ``no_ray``.
        ArchiveError: the archive is none of ours.
    """
    import_ray()
    from ray import serve  # pants: no-infer-dep

    settings = RaySettings(**arguments)
    read_archive(settings.archive)  # a mistake is named here, not in the log of a replica
    deployment = serve.deployment(
        name="predictor",
        num_replicas=settings.replicas,
        max_ongoing_requests=1 + QUEUE,
        ray_actor_options={"num_cpus": 1, "runtime_env": {"env_vars": ONE_THREAD}},
    )(Replica)
    return deployment.bind(settings.archive)


def _problem(status: int, code: str, message: str, request_id: str) -> Response:
    problem = Problem(code=code, message=message, request_id=request_id)
    return Response(to_json(problem), status_code=status, media_type="application/json")
