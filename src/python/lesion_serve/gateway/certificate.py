"""The gateway's certificate: whether it can be used, and which name local programs are to expect in it."""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography import x509

from lesion_core.errors import LesionError


class CertificateError(LesionError):
    """A certificate that no client could accept."""

    code = "bad_certificate"


def check_certificate(certificate: Path, private_key: Path) -> None:
    """Make sure that both files are PEM, belong together, and name somebody.

    Raises:
        CertificateError: they cannot be used.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key)
    except OSError as error:  # ssl's own errors are too
        raise CertificateError(
            f"{certificate} and {private_key} are no certificate with its private key ({error}). Give two PEM files "
            "that belong together."
        ) from error
    if not _names(certificate):
        raise CertificateError(
            f"{certificate} names no host among its alternative names, so clients would refuse it. Make one with the "
            "name or address that clients use."
        )


def expected_name(certificate: Path, host: str) -> str | None:
    """The name that a client has to expect in it where it connects to ``host``; ``None``: ``host`` itself."""
    names = _names(certificate)
    return None if host in names else names[0].replace("*", "gateway", 1)


def _names(certificate: Path) -> list[str]:
    """DNS names first, then addresses."""
    first = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    try:
        named = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(address) for address in named.get_values_for_type(x509.IPAddress)]
    return [*named.get_values_for_type(x509.DNSName), *addresses]
