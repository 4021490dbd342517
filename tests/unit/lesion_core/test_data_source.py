"""Where images come from, and what their licences allow."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_core.data_source import (
    DRAWN,
    NOT_STATED,
    UNSTATED,
    DataSource,
    License,
    allow_commercial_use,
    license_named,
)
from lesion_core.datasets import LAYOUTS, dermamnist, isic, isic_archive, read_dataset
from lesion_core.datasets.synthetic import write_synthetic_dataset
from support import layouts
from support.layouts import FakeImage

NC = License(name="NC", allows_commercial_use=False)
FREE = License(name="free", allows_commercial_use=True)


@pytest.mark.parametrize(
    ("written", "name", "allows"),
    [
        ("CC BY-NC 4.0", "CC BY-NC 4.0", False),
        ("CC-BY-NC-4.0", "CC BY-NC 4.0", False),
        ("cc_by-nc-sa 3.0", "CC BY-NC-SA 3.0", False),
        ("CC-BY-NC", "CC BY-NC", False),
        (" CC BY 4.0 ", "CC BY 4.0", True),
        ("CC BY-SA 4.0", "CC BY-SA 4.0", True),
        ("CC-0", "CC0 1.0", True),
        ("CC0", "CC0 1.0", True),
        ("apache-2.0", "Apache-2.0", True),
        ("MIT", "MIT", True),
        ("DINOv3-License", "DINOv3-License", None),
        ("CC BY 4.0 or a contract", "CC BY 4.0 or a contract", None),
        ("", "not stated", None),
    ],
)
def test_a_licence_is_known_however_it_is_written(written: str, name: str, allows: bool | None) -> None:
    """And nothing is claimed about one that is not known."""
    found = license_named(written)

    assert (found.name, found.allows_commercial_use) == (name, allows)


def test_a_creative_commons_licence_of_a_version_has_its_address() -> None:
    """As its deed has it."""
    assert license_named("CC-BY-NC-4.0").url == "https://creativecommons.org/licenses/by-nc/4.0/"
    assert license_named("CC BY").url is None


@given(st.lists(st.sampled_from([NC, FREE, NOT_STATED]), min_size=1))
def test_the_strictest_licence_decides(licenses: list[License]) -> None:
    """One that forbids before one that says nothing, that one before those that allow."""
    expected = False if NC in licenses else None if NOT_STATED in licenses else True

    assert allow_commercial_use(licenses) is expected


def test_a_stated_licence_counts_and_the_published_one_is_kept() -> None:
    """A card shows both."""
    source = DataSource(name="a set", images="images", published=(NC,))

    assert source.with_license(None).licenses == (NC,)
    assert source.with_license("CC BY 4.0").licenses == (license_named("CC BY 4.0"),)
    assert source.with_license("CC BY 4.0").published == (NC,)


ONE_LICENCE = ("isic-2019", "isic-2018", "ham10000", "pad-ufes-20")


@pytest.mark.parametrize("layout", ONE_LICENCE)
def test_a_reader_states_the_licence_of_its_data_card(layout: str, tmp_path: Path) -> None:
    """With the works to cite, and the address."""
    write, codes = layouts.LAYOUTS[layout]
    write(tmp_path, [FakeImage(name="ISIC_0000001", diagnosis=codes[0])])
    card = next(known.read.__doc__ or "" for known in LAYOUTS if known.name == layout)

    source = read_dataset(tmp_path).source

    (license,) = source.licenses
    assert f"Licence: {license.name}." in card
    assert source.citations
    assert source.url
    named = re.findall(r"(?:doi|arXiv):\S+", " ".join(source.citations))
    assert named
    assert all(address in card for address in named)


def test_dermamnist_states_its_licence_and_that_its_scores_are_too_good(tmp_path: Path) -> None:
    """It names no lesions."""
    layouts.write_dermamnist(tmp_path, {"train": [1], "val": [2], "test": [3]})

    source = read_dataset(tmp_path).source

    assert [license.name for license in source.licenses] == ["CC BY-NC 4.0"]
    assert "Licence: CC BY-NC 4.0." in (dermamnist.read_dermamnist.__doc__ or "")
    assert "too good" in source.caveats[0]


def test_class_folders_have_a_licence_only_where_somebody_states_it(tmp_path: Path) -> None:
    """Nobody can tell from a folder of images."""
    layouts.write_class_folders(tmp_path, [FakeImage(name="a", diagnosis="NV")])

    source = read_dataset(tmp_path).source

    assert source == UNSTATED
    assert allow_commercial_use(source.licenses) is None
    assert allow_commercial_use(source.with_license("CC BY 4.0").licenses) is True


@pytest.mark.parametrize("layout", ["isic-2019", "isic-2018"])
def test_images_of_ones_own_in_the_layout_of_a_challenge_are_not_the_challenge_s(layout: str, tmp_path: Path) -> None:
    """The layout serves any images that come with lesions; only the archive's own ids prove where they come from."""
    write, codes = layouts.LAYOUTS[layout]
    own, archive = FakeImage(name="clinic-1", diagnosis=codes[0]), FakeImage(name="ISIC_0000001", diagnosis=codes[1])
    write(tmp_path / "own", [own])
    write(tmp_path / "mixed", [own, archive])

    assert read_dataset(tmp_path / "own").source.licenses == (NOT_STATED,)
    mixed = read_dataset(tmp_path / "mixed").source
    assert mixed.licenses == (*isic.SOURCE.licenses, NOT_STATED)
    assert allow_commercial_use(mixed.licenses) is False


def test_drawn_images_are_not_taken_for_those_of_the_challenge(tmp_path: Path) -> None:
    """They come in its layout."""
    dataset = read_dataset(write_synthetic_dataset(tmp_path, images_per_class=2, side_px=40))

    assert dataset.source == DRAWN


def test_a_download_has_the_licences_and_the_people_of_the_images_that_are_used(tmp_path: Path) -> None:
    """Not of those whose diagnosis is none of ours."""
    layouts.write_isic_archive(tmp_path, [FakeImage(name=f"ISIC_{n}", diagnosis="NV") for n in range(3)])
    table = tmp_path / isic_archive.METADATA
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    for number, (row, licence) in enumerate(zip(rows, isic_archive.LICENCES, strict=True)):
        row |= {"copyright_license": licence, "attribution": f"clinic {number}"}
    rows[2] |= {"diagnosis_3": "Infectious", "diagnosis_4": "Verruca"}
    layouts.write_table(table, rows)

    dataset = read_dataset(tmp_path)

    assert sum(dataset.left_out.values()) == 1
    assert {license.name for license in dataset.source.licenses} == {"CC0 1.0", "CC BY"}
    assert dataset.source.citations == ("clinic 0", "clinic 1")
