"""The door of the app: ``lesion-ui``, or ``./pants run src/python/lesion_ui:ui -- …``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from lesion_core.errors import LesionError
from lesion_core.logs import configure_logging
from lesion_core.processes import require_free_port
from lesion_core.program import run_program
from lesion_core.workspace import UI_PORT, Endpoint
from lesion_ui import __version__, palette
from lesion_ui.client import CERTIFICATE_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE
from lesion_ui.session import IDLE_MINUTES, IDLE_VARIABLE, SIGN_IN_VARIABLE

HOST = "127.0.0.1"

app = App(name="lesion-ui", version=__version__, help_format="plaintext", suppress_keyboard_interrupt=False)


@app.default
def start(
    *,
    port: int = UI_PORT,
    endpoint_url: str | None = None,
    token_file: Path | None = None,
    certificate: Path | None = None,
    sign_in: Annotated[bool, Parameter(negative="")] = False,
    idle_minutes: Annotated[float, Parameter(validator=validators.Number(gt=0))] = IDLE_MINUTES,
) -> None:
    """Start the app for clinicians and researchers, at http://127.0.0.1:PORT; stays up until Ctrl-C.

    Research use only. Without options it asks the service that 'lesion-serve start' has started in the same folder
    (.lesion/endpoint.json; LESION_HOME changes .lesion), now or later.

    Example: lesion-ui --endpoint-url http://127.0.0.1:8000/v1/predictions --token-file token.txt

    Parameters
    ----------
    port
        TCP port on loopback.
    endpoint_url
        Address that takes image bytes by POST; also LESION_ENDPOINT_URL.
    token_file
        File whose only content is the token for that address; else LESION_ENDPOINT_TOKEN; else users sign in.
    certificate
        PEM file to trust for that address instead of the system's authorities; else LESION_ENDPOINT_CERTIFICATE.
    sign_in
        Every user signs in with an API key of the gateway, also on the machine of the service.
    idle_minutes
        A session in which nothing is done ends after so many minutes: images, answers and the key are forgotten.
    """
    require_free_port(port, "app", "--port")
    if token_file is not None:
        os.environ[TOKEN_VARIABLE] = _read_token(token_file)
    if endpoint_url is not None:
        os.environ[URL_VARIABLE] = endpoint_url
    if sign_in:
        os.environ[SIGN_IN_VARIABLE] = "1"
    os.environ[IDLE_VARIABLE] = str(idle_minutes)
    if certificate is not None:
        os.environ[CERTIFICATE_VARIABLE] = str(certificate.absolute())
    if url := os.environ.get(URL_VARIABLE):
        # A bad certificate is named now and not on the page.
        Endpoint(url=url, token="", certificate=os.environ.get(CERTIFICATE_VARIABLE)).trust()
    elif token_file is not None or certificate is not None:
        raise LesionError(
            "--token-file and --certificate are for an address: give --endpoint-url too.", code="no_endpoint"
        )
    configure_logging()
    _serve(port)


def _read_token(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except (OSError, ValueError) as error:
        raise LesionError(f"{path} cannot be read as a token file: {error}.", code="bad_token_file") from error
    if not token or len(token.split()) != 1:
        raise LesionError(f"{path} should hold one token and nothing else.", code="bad_token_file")
    return token


def streamlit_options(port: int) -> dict[str, object]:
    """Streamlit's settings: loopback, no telemetry, nothing for developers, our colours. They win over any file."""
    return {
        "server.address": HOST,
        "server.port": port,
        "server.allowedHosts": [HOST, "localhost"],  # against DNS rebinding
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": 500,  # of a zip; each widget has a limit of its own
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "browser.gatherUsageStats": False,
        "browser.serverAddress": HOST,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        "runner.magicEnabled": False,
        "logger.hideWelcomeMessage": True,
        "global.developmentMode": False,  # guessed from the installation path, wrongly in a pex
        **_theme("light", palette.LIGHT),
        **_theme("dark", palette.DARK),
        "theme.baseRadius": "small",
        "theme.headingFontSizes": ["2.2rem", "1.9rem", "1.4rem", "1.2rem", "1.05rem", "1rem"],
    }


def _theme(name: str, theme: palette.Theme) -> dict[str, object]:
    options: dict[str, object] = {
        "primaryColor": theme.primary,
        "backgroundColor": theme.background,
        "secondaryBackgroundColor": theme.secondary_background,
        "textColor": theme.text,
    }
    for hue, (background, text) in theme.boxes.items():
        options |= {f"{hue}BackgroundColor": background, f"{hue}TextColor": text}
    return {f"theme.{name}.{option}": value for option, value in options.items()}


def _serve(port: int) -> None:
    """Run Streamlit in this process until Ctrl-C or SIGTERM."""
    # Streamlit answers both signals by itself once it is up; until then Python's own exit does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from streamlit.web import bootstrap

    import lesion_ui.app

    options = streamlit_options(port)
    bootstrap.load_config_options(options)
    print(f"Lesion app: http://{HOST}:{port}  (Ctrl-C stops it)", flush=True)
    bootstrap.run(str(Path(lesion_ui.app.__file__).resolve()), False, [], options)


def main() -> None:
    """Run the command line; a named error is one sentence and exit code 2."""
    run_program("lesion-ui", app)


if __name__ == "__main__":
    main()
