"""A glance at the model hub before a download is started: without it, an error comes after a minute of retries."""

from __future__ import annotations

import httpx
from huggingface_hub import constants, try_to_load_from_cache

from lesion_plugins.errors import WeightsError

FILES = ("model.safetensors", "pytorch_model.bin")
TIMEOUT_S = 5.0


def require_hub(repository: str) -> None:
    """Make sure that weights can be had: from the hub's cache on this machine, or from a hub that answers.

    Asks what ``HF_ENDPOINT`` names, through the proxies of the environment; ``HF_HUB_OFFLINE`` is respected.

    Raises:
        WeightsError: neither is so.
    """
    if any(isinstance(try_to_load_from_cache(repository, file), str) for file in FILES):
        return
    if constants.HF_HUB_OFFLINE:
        raise WeightsError(f"{repository} is not in the hub's cache here, and HF_HUB_OFFLINE is set")
    try:
        httpx.head(f"{constants.ENDPOINT}/{repository}", timeout=TIMEOUT_S, follow_redirects=True)
    except httpx.HTTPError as error:
        raise WeightsError(f"{constants.ENDPOINT} cannot be reached ({type(error).__name__}: {error})") from error
