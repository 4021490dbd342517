"""Where Pants finds our rules."""

from lesion_build import ruff, shellcheck, torchserve, wheels


def rules():
    """Return all rules of this backend."""
    return [*ruff.rules(), *shellcheck.rules(), *torchserve.rules(), *wheels.rules()]


def target_types():
    """Return the words that we add to BUILD files."""
    return torchserve.target_types()
