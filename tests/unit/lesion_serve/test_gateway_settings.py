"""How a gateway may be started, and how not."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from lesion_core.workspace import Workspace
from lesion_serve.gateway.certificate import CertificateError
from lesion_serve.gateway.server import PortUnavailableError, listen
from lesion_serve.gateway.settings import GatewaySettings, GatewaySettingsError, is_loopback
from lesion_serve.store import default_url
from support.certificates import make_certificate


def test_what_is_not_given_is_the_workspaces_own(tmp_path: Path) -> None:
    """And only this machine can reach it."""
    settings = GatewaySettings.of(Workspace(tmp_path), port=9000, store_url=None)

    assert settings.url == "http://127.0.0.1:9000"
    assert settings.needs_key
    assert settings.store_url == default_url(Workspace(tmp_path))
    assert settings.keys_file.parent == Workspace(tmp_path).root
    assert settings.image_folder is None


def test_features_are_kept_as_long_as_images_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    """A fingerprint shall not outlive its image by an oversight."""
    keeping = {"image_folder": Path("images"), "image_key": Path("key"), "keep_images_days": 30.0}

    def days(**given: object) -> float | None:
        return GatewaySettings.of(Workspace(tmp_path), **given).features_days

    assert days() is None
    assert days(**keeping) == 30
    assert days(**keeping, keep_features_days=90.0) == 90
    assert days(keep_features_days=7.0) == 7


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"needs_key": False, "host": "0.0.0.0"}, "--no-keys is for loopback only"),
        ({"host": "192.168.1.5"}, "--certificate"),
        ({"certificate": Path("c.pem")}, "both --certificate and --private-key"),
        ({"certificate": Path("c.pem"), "private_key": Path("k.pem")}, "c.pem does not exist"),
        ({"image_folder": Path("images")}, "new-key"),
        ({"keep_images_days": 30.0}, "--keep-images "),
    ],
)
def test_settings_that_would_show_somebody_too_much_are_refused(
    given: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    """With the option that cures it."""
    with pytest.raises(GatewaySettingsError, match=sentence):
        GatewaySettings.of(Workspace(tmp_path), **given)


@pytest.mark.parametrize(
    ("host", "names", "url", "server_name"),
    [
        ("0.0.0.0", ("gateway.example",), "https://127.0.0.1:9000", "gateway.example"),
        ("0.0.0.0", ("192.0.2.7", "*.clinic.example"), "https://127.0.0.1:9000", "gateway.clinic.example"),
        ("0.0.0.0", ("gateway.example", "127.0.0.1"), "https://127.0.0.1:9000", None),
        ("::", ("192.0.2.7",), "https://[::1]:9000", "192.0.2.7"),
        ("192.0.2.7", ("192.0.2.7",), "https://192.0.2.7:9000", None),
    ],
)
def test_programs_of_this_machine_are_told_an_address_that_they_reach_and_trust(
    host: str, names: tuple[str, ...], url: str, server_name: str | None, tmp_path: Path
) -> None:
    """No program can connect to 0.0.0.0, and a certificate is seldom for 127.0.0.1."""
    certificate, private_key = make_certificate(tmp_path, *names)
    settings = GatewaySettings.of(
        Workspace(tmp_path), host=host, port=9000, certificate=certificate, private_key=private_key
    )

    endpoint = settings.local_endpoint("t")

    assert endpoint.url == f"{url}/v1/predictions"
    assert endpoint.certificate == str(certificate)
    assert endpoint.server_name == server_name
    assert isinstance(endpoint.trust(), ssl.SSLContext)


def test_a_certificate_that_no_client_accepts_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    """Another's key, a file that is none, and one that names no host."""
    (certificate, private_key), (nameless, its_key) = (
        make_certificate(tmp_path, "gateway.example"),
        make_certificate(tmp_path, stem="nameless"),
    )
    text = tmp_path / "text.pem"
    text.write_text("text")

    for pair in ((certificate, its_key), (text, private_key), (nameless, its_key)):
        with pytest.raises(CertificateError) as refused:
            GatewaySettings.of(Workspace(tmp_path), certificate=pair[0], private_key=pair[1])
        assert str(pair[0]) in refused.value.message


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, expected: bool) -> None:
    """Names are not looked up, but for the one that everybody has."""
    assert is_loopback(host) is expected


def test_a_port_that_is_taken_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    """Two gateways on one port would share the clients."""
    settings = GatewaySettings.of(Workspace(tmp_path), port=0)
    with listen(settings) as taken:
        again = GatewaySettings.of(Workspace(tmp_path), port=taken.getsockname()[1])
        with pytest.raises(PortUnavailableError, match="--port"), listen(again):
            pass


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *((name, count) for name in ("port", "max_images", "max_request_mib") for count in (-1, 1.5, True, "16")),
        *(("max_images", 0), ("max_request_mib", 0)),
    ],
)
def test_counts_are_whole_numbers(name: str, count: object, tmp_path: Path) -> None:
    """Nothing is rounded, and True is none. Port 0 is a free one."""
    with pytest.raises(GatewaySettingsError, match=f"{name} is a whole number"):
        GatewaySettings.of(Workspace(tmp_path), **{name: count})
