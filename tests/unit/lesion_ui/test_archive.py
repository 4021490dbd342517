"""Zip archives: images come out, and every trick is refused."""

from __future__ import annotations

import stat
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_ui.archive import ArchiveError, ArchiveLimits, is_image_name, read_zip
from support.zips import packed

NOISE = bytes(range(256)) * 8


def test_images_come_out_in_order_and_the_rest_is_named() -> None:
    """Also out of folders."""
    found = read_zip(packed(("b/one.JPG", b"1"), ("a.png", b"2"), ("notes.txt", b"3"), ("__MACOSX/._a.png", b"4")))

    assert found.images == (("b/one.JPG", b"1"), ("a.png", b"2"))
    assert found.skipped == ("notes.txt", "__MACOSX/._a.png")


@pytest.mark.parametrize(
    "name", ["../a.png", "a/../../b.png", "/etc/a.png", "C:/a.png", "..\\a.png", "\\\\host\\a.png"]
)
def test_a_name_that_leaves_the_archive_refuses_all_of_it(name: str) -> None:
    """Nothing is written anyway, but who tries that is not to be trusted."""
    with pytest.raises(ArchiveError, match="outside itself"):
        read_zip(packed(("good.png", b"1"), (name, b"2")))


def test_a_link_is_refused() -> None:
    """It may lead anywhere."""
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16

    with pytest.raises(ArchiveError, match="link"):
        read_zip(packed((link, b"/etc/passwd")))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    """By what it says of itself."""
    with pytest.raises(ArchiveError, match="bomb"):
        read_zip(packed(("bomb.png", b"\0" * (8 << 20))))


def test_a_bomb_that_lies_about_its_size_is_refused_while_it_is_unpacked() -> None:
    """The directory says 10 bytes; what comes out is counted, and so is the checksum."""
    data = bytearray(packed(("bomb.png", NOISE * 512)))
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (10).to_bytes(4, "little")

    with pytest.raises(ArchiveError):
        read_zip(bytes(data))


def test_files_that_are_too_large_alone_or_together_are_refused() -> None:
    """With the limit."""
    content = packed(("a.png", NOISE), ("b.png", NOISE), compression=zipfile.ZIP_STORED)

    with pytest.raises(ArchiveError, match="more than 100 bytes"):
        read_zip(content, limits=ArchiveLimits(file_bytes=100))
    with pytest.raises(ArchiveError, match=r"b\.png"):
        read_zip(content, limits=ArchiveLimits(total_bytes=len(NOISE) + 10))
    with pytest.raises(ArchiveError, match="2 entries"):
        read_zip(content, limits=ArchiveLimits(entries=1))


def test_an_encrypted_archive_is_refused() -> None:
    """The app asks for no passwords."""
    data = bytearray(packed(("a.png", NOISE)))
    data[data.rindex(b"PK\x01\x02") + 8] |= 1

    with pytest.raises(ArchiveError, match="encrypted"):
        read_zip(bytes(data))


@given(st.binary(max_size=300))
def test_any_bytes_are_images_or_a_named_error(data: bytes) -> None:
    """Nothing else is raised."""
    with suppress(ArchiveError):
        read_zip(data)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_archive_is_images_or_a_named_error(position: int, value: int) -> None:
    """One byte changed anywhere."""
    data = bytearray(packed(("a.png", NOISE), ("b/c.jpg", NOISE[:100])))
    data[position % len(data)] = value
    with suppress(ArchiveError):
        assert len(read_zip(bytes(data)).images) <= 2


@pytest.mark.parametrize(
    ("name", "is_image"), [("a.PNG", True), ("x/b.dcm", True), ("a.zip", False), (".a.png", False)]
)
def test_images_are_known_by_their_names_first(name: str, is_image: bool) -> None:
    """An archive in an archive is none."""

    assert is_image_name(name) == is_image
