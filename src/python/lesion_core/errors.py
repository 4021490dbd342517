"""Every error that Lesion raises on purpose.

An error says what happened, the value, what was possible and the next step; it keeps its fields, and its
``code`` is stable: programs match the code, people read the sentence.
"""

from __future__ import annotations

from pathlib import Path


class LesionError(Exception):
    """Root of all named errors; ``code`` is a stable snake_case identifier."""

    code: str = "lesion_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class ImageError(LesionError):
    """Bytes that are not an acceptable image.

    Codes: ``empty_body``, ``unsupported_format``, ``too_many_bytes``, ``too_many_pixels``, ``too_small``,
    ``animated``, ``corrupt_image``.
    """

    code = "corrupt_image"


class TaxonomyError(LesionError):
    """A taxonomy that cannot be read, or whose names are not unique."""

    code = "bad_taxonomy"


class UnknownDiagnosisError(LesionError):
    """A label that the taxonomy does not know; ``closest`` holds what it may have meant."""

    code = "unknown_diagnosis"

    def __init__(self, label: str, closest: tuple[str, ...], possible: tuple[str, ...]) -> None:
        hint = f" Did you mean {' or '.join(repr(name) for name in closest)}?" if closest else ""
        super().__init__(f"No diagnosis named {label!r}.{hint} Known: {', '.join(possible)}.")
        self.label = label
        self.closest = closest


class DatasetError(LesionError):
    """A table or folder of images that cannot be read; ``problems`` lists all that was found, one line each."""

    code = "bad_dataset"

    def __init__(self, source: Path, problems: tuple[str, ...], *, shown: int = 20) -> None:
        listed = "\n".join(f"  - {problem}" for problem in problems[:shown])
        more = f"\n  … and {len(problems) - shown} more" if len(problems) > shown else ""
        plural = "problem" if len(problems) == 1 else "problems"
        super().__init__(f"{source}: {len(problems)} {plural}:\n{listed}{more}")
        self.source = source
        self.problems = problems


class SplitError(LesionError):
    """A split that cannot be made, or whose parts share a lesion."""

    code = "bad_split"


class BundleError(LesionError):
    """A bundle that is incomplete, altered, or of another schema version."""

    code = "bad_bundle"


class WireError(LesionError):
    """JSON that is not a message of this wire version."""

    code = "bad_message"


class PortTakenError(LesionError):
    """A TCP port that something else listens on."""

    code = "port_taken"

    def __init__(self, port: int, purpose: str, option: str) -> None:
        super().__init__(
            f"Port {port} ({purpose}) is taken by another program. Stop it, or choose another port with {option}."
        )
        self.port = port
        self.option = option
