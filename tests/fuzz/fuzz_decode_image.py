"""Fuzz ``decode_image``: whatever the bytes, an image or a named error.

    ./pants run tests/fuzz/fuzz_decode_image.py -- -max_total_time=60

Options are libFuzzer's; a folder as argument keeps the corpus between runs. Coverage guides the mutations through our
own code and Pillow's and pydicom's Python code; their compiled decoders are run, but not instrumented. Starts from the
small valid files of every format. Stops at the first finding and writes the file that caused it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lesion_core.imaging", "PIL", "pydicom"]):
    import numpy as np

    from lesion_core.errors import ImageError
    from lesion_core.imaging import DecodeLimits, decode_image
    from support.image_files import seed_files

# Small images: a fuzzer learns from many, not from large ones.
LIMITS = DecodeLimits(max_pixels=300_000)


def check(data: bytes) -> None:
    """Raise anything but ``ImageError``, and libFuzzer reports it."""
    try:
        pixels = decode_image(data, limits=LIMITS, shortest_side_px=40)
    except ImageError:
        return
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size > 3 * LIMITS.max_pixels:
        raise AssertionError(f"{pixels.dtype} {pixels.shape}")


def main() -> None:
    """Run until libFuzzer's options say to stop."""
    with tempfile.TemporaryDirectory() as seeds, tempfile.TemporaryDirectory() as found:
        for name, data in seed_files().items():
            (Path(seeds) / name).write_bytes(data)
        folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")] or [found]
        options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
        atheris.Setup([sys.argv[0], *options, "-max_len=20000", "-rss_limit_mb=500", *folders, seeds], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
