"""Where Pants finds our rules."""

from lesion_build import ruff, shellcheck, wheels


def rules():
    """Return all rules of this backend."""
    return [*ruff.rules(), *shellcheck.rules(), *wheels.rules()]
