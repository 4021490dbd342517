"""Alerts on their way to people: a webhook or e-mail, each only where the operator names one. Nothing else leaves."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from pathlib import Path

import attrs
import httpx
import structlog

from lesion_core.errors import LesionError
from lesion_serve.store import AlertRecord

TIMEOUT_S = 10.0

log = structlog.get_logger()


class NotSentError(LesionError):
    """An alert that did not arrive. It is in the store all the same."""

    code = "alert_not_sent"


@attrs.frozen(kw_only=True)
class Webhook:
    """JSON by POST. ``token_file`` holds a bearer token, where the receiver wants one."""

    url: str
    token_file: Path | None = None

    def send(self, alert: AlertRecord) -> None:
        """Send one.

        Raises:
            NotSentError: nobody answered, or not with success.
        """
        try:
            token = "" if self.token_file is None else self.token_file.read_text(encoding="utf-8").strip()
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = httpx.post(self.url, json=_fields(alert), headers=headers, timeout=TIMEOUT_S)
            answer.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise NotSentError(f"The webhook did not take the alert {alert.name!r}: {error}.") from error


@attrs.frozen(kw_only=True)
class Mail:
    """E-mail through an SMTP server.

    Attributes:
        host, port: of the server.
        sender: its address.
        to: who gets it.
        starttls: encrypt; without it user and password go in the clear.
        user: where the server wants one, with ``password_file``.
        password_file: holds the password.
    """

    host: str
    port: int = 587
    sender: str
    to: tuple[str, ...] = attrs.field(validator=attrs.validators.min_len(1))
    starttls: bool = True
    user: str | None = None
    password_file: Path | None = None

    def send(self, alert: AlertRecord) -> None:
        """Send one.

        Raises:
            NotSentError: the server did not take it.
        """
        message = EmailMessage()
        message["Subject"] = f"[Lesion] {alert.severity}: {alert.name} is {alert.state}"
        message["From"], message["To"] = self.sender, ", ".join(self.to)
        message.set_content(f"{alert.message}\n\nAt {alert.at.isoformat()}. Research use only.\n")
        try:
            with smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S) as server:
                if self.starttls:
                    server.starttls(context=ssl.create_default_context())
                if self.user is not None and self.password_file is not None:
                    server.login(self.user, self.password_file.read_text(encoding="utf-8").strip())
                server.send_message(message)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise NotSentError(f"The mail server did not take the alert {alert.name!r}: {error}.") from error


@attrs.frozen(kw_only=True)
class Channels:
    """Where alerts go; ``None`` does not go there."""

    webhook: Webhook | None = None
    mail: Mail | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of those that are there."""
        return tuple(name for name in ("webhook", "mail") if getattr(self, name) is not None)

    def send(self, alert: AlertRecord) -> tuple[str, ...]:
        """Send one everywhere; returns the names of those that did not take it, which is logged."""
        failed = []
        for name, channel in (("webhook", self.webhook), ("mail", self.mail)):
            if channel is None:
                continue
            try:
                channel.send(alert)
            except NotSentError as error:
                log.warning("alert_not_sent", channel=name, alert=alert.name, reason=error.message)
                failed.append(name)
        return tuple(failed)

    def only(self, name: str) -> Channels:
        """That one alone."""
        return Channels(**{name: getattr(self, name)})


def _fields(alert: AlertRecord) -> dict[str, object]:
    return {**attrs.asdict(alert), "at": alert.at.isoformat()}
