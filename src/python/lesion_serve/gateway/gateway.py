"""What stands behind the gateway's routes, and who may use them."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from starlette.requests import Request

from lesion_core.service import Label
from lesion_serve.engine.engine import Engine
from lesion_serve.gateway.asking import Asking
from lesion_serve.gateway.deployments import Deployments
from lesion_serve.gateway.errors import ForbiddenError
from lesion_serve.gateway.history import History
from lesion_serve.gateway.keys import LOCAL_PRINCIPAL, ApiKeys, Permission, Principal
from lesion_serve.gateway.metrics import Metrics
from lesion_serve.gateway.middleware import UPLOAD_S
from lesion_serve.gateway.origin import require_this_machine
from lesion_serve.gateway.reporting import Reporting


@attrs.frozen(kw_only=True, eq=False)
class Gateway:
    """What stands behind the routes.

    Attributes:
        asking: answers questions.
        engine: for readiness and the list of models.
        history: predictions that were given.
        deployments: versions, and what changes them.
        label: of the version that answers now.
        reporting: reports over many predictions.
        metrics: what is counted.
        keys: who may ask; ``None`` lets every program and page of this machine, for loopback only.
        max_body_bytes: of one request.
        max_images: of one form.
        upload_s: seconds that a request's body may take.
    """

    asking: Asking
    engine: Engine
    history: History
    deployments: Deployments
    label: Callable[[], Label]
    reporting: Reporting
    metrics: Metrics
    keys: ApiKeys | None
    max_body_bytes: int
    max_images: int
    upload_s: float = UPLOAD_S

    def authorise(self, request: Request, permission: Permission | None) -> Principal:
        """Who asks. ``None`` for what every key may.

        Raises:
            AccessError: no key, or one that is not valid.
            ForbiddenError: its role does not allow this; or there are no keys, and it is a page of another host's.
        """
        if self.keys is None:
            require_this_machine(request)
            return LOCAL_PRINCIPAL
        principal = self.keys.authenticate(request.headers.get("authorization"))
        request.state.key_id = principal.key_id
        if permission is not None and not principal.may(permission):
            raise ForbiddenError(f"A key with the role {principal.role} does not allow this ({permission}).")
        return principal
