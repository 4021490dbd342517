"""Where a data set comes from and what may be done with it: values that its reader states and a model card prints."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs


@attrs.frozen(kw_only=True)
class License:
    """A licence. ``allows_commercial_use`` is ``None`` where that is not known here: read the licence."""

    name: str = attrs.field(validator=attrs.validators.min_len(1))
    url: str | None = None
    allows_commercial_use: bool | None = None


NOT_STATED = License(name="not stated")
SEVERAL_LICENSES = " / "  # between the names of licences that all bind
# Terms of each of these by its SPDX identifier: https://spdx.org/licenses/ .
_PERMISSIVE = {name.casefold(): name for name in ("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause")}
_CREATIVE_COMMONS = re.compile(r"cc-?(?P<terms>0|by(?:-(?:nc|sa|nd))*)(?:-(?P<version>\d\.\d))?")


def license_named(text: str) -> License:
    """The licence of a name as people write it: ``CC BY-NC 4.0``, ``CC-BY-NC-4.0``, ``CC-0``, ``Apache-2.0``.

    One that is not known here keeps its text, and nothing is claimed about it.

    Source: https://creativecommons.org/share-your-work/cclicenses/ for what NC forbids.
    """
    plain = re.sub(r"[\s_-]+", "-", text.strip()).casefold()
    if plain in _PERMISSIVE:
        name = _PERMISSIVE[plain]
        return License(name=name, url=f"https://spdx.org/licenses/{name}.html", allows_commercial_use=True)
    found = _CREATIVE_COMMONS.fullmatch(plain)
    if found is None:
        return License(name=text.strip() or NOT_STATED.name)
    terms, version = found["terms"], found["version"]
    if terms == "0":
        url = "https://creativecommons.org/publicdomain/zero/1.0/"
        return License(name="CC0 1.0", url=url, allows_commercial_use=True)
    return License(
        name=f"CC {terms.upper()}" + (f" {version}" if version else ""),
        url=f"https://creativecommons.org/licenses/{terms}/{version}/" if version else None,
        allows_commercial_use="nc" not in terms.split("-"),
    )


def allow_commercial_use(licenses: Iterable[License]) -> bool | None:
    """Whether what is made from works under all of these may be used commercially.

    Returns:
        ``False`` where one forbids it, else ``None`` where it is not known of one, else ``True``.
    """
    said = [license.allows_commercial_use for license in licenses]
    if False in said:
        return False
    return None if None in said else True


@attrs.frozen(kw_only=True)
class DataSource:
    """Who made a data set, what is in it, and under which terms.

    Attributes:
        name: for people.
        images: what kind of images, as one would say it after "trained on".
        published: licences that its publisher gave the images, all that occur.
        stated: licence that whoever trained stated in place of these.
        citations: the works to cite, or the people to name.
        url: address of the data set.
        caveats: what a score on it cannot mean, and other things that its users should know, in sentences.
    """

    name: str
    images: str
    published: tuple[License, ...] = attrs.field(default=(NOT_STATED,), validator=attrs.validators.min_len(1))
    stated: License | None = None
    citations: tuple[str, ...] = ()
    url: str | None = None
    caveats: tuple[str, ...] = ()

    @property
    def licenses(self) -> tuple[License, ...]:
        """Those that count: the stated one, else the published ones."""
        return self.published if self.stated is None else (self.stated,)

    def with_license(self, text: str | None) -> DataSource:
        """The same source, under a licence that somebody states by name; unchanged for ``None``."""
        return self if text is None else attrs.evolve(self, stated=license_named(text))


UNSTATED = DataSource(name="images of one's own", images="images whose kind is not stated")

DRAWN = DataSource(
    name="drawn images (lesion_core.datasets.synthetic)",
    images="drawn images that no camera took",
    published=(license_named("Apache-2.0"),),
    caveats=("The images are **synthetic**: a score on them says that the software works, and nothing about skin.",),
)
