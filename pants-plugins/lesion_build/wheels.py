"""
What our wheels have in common, and their versions.

A version stands in one place only, ``__version__`` in the package's ``__init__.py``; BUILD files do not repeat it.
"""

import re
from pathlib import PurePath

from pants.backend.python.util_rules import package_dists
from pants.backend.python.util_rules.package_dists import SetupKwargs, SetupKwargsRequest
from pants.engine.fs import DigestContents, GlobMatchErrorBehavior, PathGlobs
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.target import Target
from pants.engine.unions import UnionRule

COMMON = {
    "author": "Lesion maintainers",
    "license": "Apache-2.0",
    "long_description_content_type": "text/markdown",
    "zip_safe": False,
    "classifiers": [
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        "Typing :: Typed",
    ],
}


class LesionWheelRequest(SetupKwargsRequest):
    """Applies to every distribution under ``src/python``."""

    @classmethod
    def is_applicable(cls, target: Target) -> bool:
        """Tell whether `target` is one of ours."""
        return target.address.spec_path.startswith("src/python/")


@rule
async def wheel_settings(request: LesionWheelRequest) -> SetupKwargs:
    """Add the version and what is common to what the BUILD file says."""
    address = request.target.address
    path = f"{address.spec_path}/__init__.py"
    contents = await Get(DigestContents, PathGlobs([path], GlobMatchErrorBehavior.error, description_of_origin=path))
    version = re.search(r'^__version__ = "([^"]+)"', contents[0].content.decode(), re.MULTILINE)
    if not version:
        raise ValueError(f'{path} needs a line like: __version__ = "0.1.0"')
    name = PurePath(address.spec_path).name.replace("_", "-")
    settings = {**COMMON, "name": name, "version": version.group(1), **request.explicit_kwargs}
    return SetupKwargs(settings, address=address)


def rules():
    """Return the rules for Pants."""
    return [*collect_rules(), *package_dists.rules(), UnionRule(SetupKwargsRequest, LesionWheelRequest)]
