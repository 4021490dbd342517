"""How a gateway is started: where it listens, who may ask, what it takes and where it records."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import attrs

from lesion_core.errors import LesionError
from lesion_core.imaging import DEFAULT_LIMITS
from lesion_core.workspace import GATEWAY_PORT, Endpoint, Workspace
from lesion_serve.gateway.certificate import check_certificate, expected_name
from lesion_serve.store import default_anchors, default_url

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is bound is the operator's choice


class GatewaySettingsError(LesionError):
    """Settings that do not go together."""

    code = "bad_gateway_settings"


@attrs.frozen(kw_only=True)
class GatewaySettings:
    """Attributes are as the command ``lesion-serve start`` describes them.

    Attributes:
        host: address or name to listen on.
        port: to listen on; 0 for a free one.
        certificate, private_key: PEM files; both, or none for plain HTTP.
        keys_file: API keys.
        needs_key: ``False`` lets everybody ask; on loopback only.
        store_url: database of the prediction store.
        anchors: file of the heads of its chain.
        atlases: folder of reference images, a file for each bundle.
        image_folder, image_key: where images are kept, encrypted, and the key file; both, or none to keep no image.
        keep_images_days: after which a kept image is erased, by the gateway itself; ``None`` keeps them.
        keep_features_days: after which monitoring's features are erased likewise; those of images by default.
        max_images: of one request.
        max_request_mib: of one request.
        deadline_s: that the answer for one image may take, its record included.
        longest_wait_s: that a request may wait for those before it; the others are refused.
    Raises:
        GatewaySettingsError: two of them do not go together.
        CertificateError: the certificate cannot be used.
    """

    host: str = "127.0.0.1"
    port: int = GATEWAY_PORT
    certificate: Path | None = None
    private_key: Path | None = None
    keys_file: Path
    needs_key: bool = True
    store_url: str
    anchors: Path
    atlases: Path
    image_folder: Path | None = None
    image_key: Path | None = None
    keep_images_days: float | None = None
    keep_features_days: float | None = None
    max_images: int = 16
    max_request_mib: int = 4 * DEFAULT_LIMITS.max_bytes // 2**20
    deadline_s: float = 20.0
    longest_wait_s: float = 1.5

    def __attrs_post_init__(self) -> None:
        for name, value, least in (
            ("port", self.port, 0),
            ("max_images", self.max_images, 1),
            ("max_request_mib", self.max_request_mib, 1),
        ):
            if type(value) is not int or value < least:  # exactly: True is no count
                raise GatewaySettingsError(f"{name} is a whole number from {least} on, got {value!r}.")
        if (self.certificate is None) != (self.private_key is None):
            raise GatewaySettingsError("TLS needs both --certificate and --private-key, as PEM files.")
        for path in (self.certificate, self.private_key):
            if path is not None and not path.is_file():
                raise GatewaySettingsError(f"{path} does not exist; give a PEM file.")
        if self.certificate is not None and self.private_key is not None:
            check_certificate(self.certificate, self.private_key)
        if (self.image_folder is None) != (self.image_key is None):
            raise GatewaySettingsError(
                "Keeping images needs both --keep-images and --image-key: 'lesion-serve audit new-key FILE' makes one."
            )
        if self.keep_images_days is not None and self.image_folder is None:
            raise GatewaySettingsError("--keep-images-days is for kept images: give --keep-images and --image-key too.")
        if not self.needs_key and not is_loopback(self.host):
            raise GatewaySettingsError(
                f"Without API keys everybody who reaches {self.host} could ask, so --no-keys is for loopback only. "
                "Make keys with 'lesion-serve keys create NAME --role clinician'."
            )
        if self.certificate is None and not is_loopback(self.host):
            raise GatewaySettingsError(
                f"Keys and images would cross the network to {self.host} unencrypted. Give --certificate and "
                "--private-key, or listen on 127.0.0.1 behind a proxy that does TLS."
            )

    @classmethod
    def of(cls, workspace: Workspace, **given: object) -> GatewaySettings:
        """Settings with the workspace's own files for what is not given (``None`` counts as not given)."""
        told = {name: value for name, value in given.items() if value is not None}
        url = str(told.setdefault("store_url", default_url(workspace)))
        told.setdefault("anchors", default_anchors(url, workspace))
        told.setdefault("keys_file", keys_file(workspace))
        told.setdefault("atlases", workspace.atlases)
        return cls(**told)  # type: ignore[arg-type]

    @property
    def features_days(self) -> float | None:
        """Days after which features are erased: a fingerprint shall not outlive its image unless somebody says so."""
        return self.keep_images_days if self.keep_features_days is None else self.keep_features_days

    @property
    def local_host(self) -> str:
        """Where programs on this machine reach it: loopback, where it listens on every address."""
        return _LOOPBACK.get(self.host, self.host)

    @property
    def url(self) -> str:
        """Where programs on this machine reach it."""
        host = f"[{self.local_host}]" if ":" in self.local_host else self.local_host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}"

    def local_endpoint(self, token: str) -> Endpoint:
        """What programs on this machine need to ask, with the certificate that they trust."""
        certificate = self.certificate
        return Endpoint(
            url=f"{self.url}/v1/predictions",
            token=token,
            certificate=None if certificate is None else str(certificate.absolute()),
            server_name=None if certificate is None else expected_name(certificate, self.local_host),
        )


def keys_file(workspace: Workspace) -> Path:
    """The API keys of a workspace."""
    return workspace.root / "keys.json"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
