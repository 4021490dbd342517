"""Duplicates: exact and near, across parts and within."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lesion_core import audit
from lesion_core.audit import Likeness, audit_duplicates
from lesion_core.datasets import read_dataset
from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.errors import LesionError
from lesion_core.records import ImageRecord
from lesion_core.scan import ImageScan, scan_images


def save(folder: Path, name: str, pixels: Image.Image, kind: str = "PNG", **options: object) -> Path:
    path = folder / f"{name}.{kind.lower()}"
    pixels.save(path, kind, **options)
    return path


def scan_of(paths: list[Path], diagnoses: list[str] | None = None) -> ImageScan:
    codes = diagnoses or ["NV"] * len(paths)
    records = [
        ImageRecord(isic_id=path.name, path=path, diagnosis=code, lesion_id=f"lesion of {path.name}")
        for path, code in zip(paths, codes, strict=True)
    ]
    return scan_images(records, threads=1)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """An image; its copy; its pixels in another file; it scaled and compressed; two other images."""
    one = Image.fromarray(draw_lesion("BKL", seed=1, side_px=200))
    original = save(tmp_path, "original", one)
    copy = tmp_path / "copy.png"
    copy.write_bytes(original.read_bytes())
    return [
        original,
        copy,
        save(tmp_path, "rewritten", one, compress_level=1),
        save(tmp_path, "small", one.resize((120, 120)), "JPEG", quality=85),
        save(tmp_path, "other", Image.fromarray(draw_lesion("BKL", seed=2, side_px=200))),
        save(tmp_path, "another", Image.fromarray(draw_lesion("MEL", seed=3, side_px=200))),
    ]


def test_each_kind_of_likeness_is_told_apart(paths: list[Path]) -> None:
    """The strongest that holds, exact ones first; images that differ are not named."""
    pairs = audit_duplicates(scan_of(paths), ["all"] * 6, within_parts=True)

    kinds = [(pair.first.path.stem, pair.second.path.stem, pair.likeness) for pair in pairs]
    assert kinds == [
        ("original", "copy", Likeness.SAME_FILE),
        ("original", "rewritten", Likeness.SAME_PIXELS),
        ("copy", "rewritten", Likeness.SAME_PIXELS),
        ("original", "small", Likeness.NEAR_HASH),
        ("copy", "small", Likeness.NEAR_HASH),
        ("rewritten", "small", Likeness.NEAR_HASH),
    ]
    assert pairs[0].hash_distance == 0 < pairs[-1].hash_distance <= audit.MAX_HASH_DISTANCE


def test_only_pairs_across_parts_are_named_by_default(paths: list[Path]) -> None:
    """They are what makes a score too good."""
    parts = ["train", "train", "train", "validation", "train", "validation"]

    pairs = audit_duplicates(scan_of(paths), parts)

    assert {pair.second.path.stem for pair in pairs} == {"small"}
    assert len(pairs) == 3
    assert all(
        pair.is_across_parts and (pair.first_part, pair.second_part) == ("train", "validation") for pair in pairs
    )


def test_a_label_conflict_among_duplicates_is_marked(paths: list[Path]) -> None:
    """One of the two diagnoses is wrong."""
    scan = scan_of(paths[:3], ["NV", "MEL", "NV"])

    pairs = audit_duplicates(scan, ["all"] * 3, within_parts=True)

    assert {(pair.first.diagnosis, pair.second.diagnosis): pair.has_label_conflict for pair in pairs} == {
        ("NV", "MEL"): True,
        ("NV", "NV"): False,
        ("MEL", "NV"): True,
    }
    assert not any(pair.is_same_lesion for pair in pairs)


def test_embeddings_find_what_the_hash_does_not(paths: list[Path]) -> None:
    """A lesion that was turned, for one; the hash's pairs carry their cosine too."""
    scan = scan_of([paths[0], paths[1], paths[4], paths[5]])
    embeddings = np.array([[1, 0, 0], [2, 0, 0], [3, 0.1, 0], [0, 0, 1]], dtype=np.float32)

    pairs = audit_duplicates(scan, ["all"] * 4, within_parts=True, embeddings=embeddings, min_cosine=0.99)

    assert [(pair.second.path.stem, pair.likeness, pair.cosine) for pair in pairs] == [
        ("copy", Likeness.SAME_FILE, 1.0),
        ("other", Likeness.NEAR_EMBEDDING, 0.9994),
        ("other", Likeness.NEAR_EMBEDDING, 0.9994),
    ]


def test_a_png_and_a_large_jpeg_are_compared_in_full(tmp_path: Path) -> None:
    """The scan saw the JPEG at a reduced size only."""
    stream = io.BytesIO()
    Image.fromarray(draw_lesion("NV", seed=1, side_px=512)).save(stream, "JPEG")
    (tmp_path / "a.jpeg").write_bytes(stream.getvalue())
    with Image.open(tmp_path / "a.jpeg") as image:
        unpacked = save(tmp_path, "b", image.convert("RGB"))

    (pair,) = audit_duplicates(scan_of([tmp_path / "a.jpeg", unpacked]), ["train", "test"])

    assert pair.likeness == Likeness.SAME_PIXELS


def numbered(hashes: np.ndarray) -> ImageScan:
    """A scan of images that do not exist: no two files are equal."""
    records = tuple(
        ImageRecord(isic_id=f"I{n}", path=Path("none"), diagnosis="NV", lesion_id=f"L{n}") for n in range(len(hashes))
    )
    return ImageScan(records=records, contents=tuple(f"{n}" for n in range(len(hashes))), hashes=hashes, problems=())


@settings(max_examples=20)
@given(st.integers(1, 700), st.integers(0, 1000), st.booleans())
def test_blocks_find_the_pairs_that_a_plain_loop_finds(images: int, seed: int, within: bool) -> None:
    """On both sides of the edge of a block."""
    random = np.random.default_rng(seed)
    embeddings = random.normal(size=(images, 4)).astype(np.float32)
    hashes = random.integers(0, 2**63, (images, 4), dtype=np.uint64)
    parts = random.choice(["a", "b", "c"], images).tolist()
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    rows, columns = np.nonzero(np.triu(unit @ unit.T >= 0.995, k=1))
    expected = {
        (f"I{row}", f"I{column}")
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if within or parts[row] != parts[column]
    }

    pairs = audit_duplicates(
        numbered(hashes), parts, within_parts=within, max_hash_distance=20, embeddings=embeddings, min_cosine=0.995
    )

    assert {(pair.first.isic_id, pair.second.isic_id) for pair in pairs} == expected


def test_too_many_alike_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand blank images are half a million pairs: no list for a person."""
    monkeypatch.setattr(audit, "MAX_PAIRS", 100)

    with pytest.raises(LesionError, match="More than 100 pairs of 50 images are alike") as caught:
        audit_duplicates(numbered(np.zeros((50, 4), dtype=np.uint64)), ["a"] * 50, within_parts=True)

    assert caught.value.code == "too_many_duplicates"


def test_arguments_that_do_not_fit_are_refused(paths: list[Path]) -> None:
    """A part and an embedding for each image."""
    scan = scan_of(paths[:2])

    with pytest.raises(ValueError, match="1 parts for 2 images"):
        audit_duplicates(scan, ["a"])
    with pytest.raises(ValueError, match=r"shape \(3, 4\), not \(2, D\)"):
        audit_duplicates(scan, ["a", "b"], embeddings=np.zeros((3, 4), dtype=np.float32))


@pytest.mark.skipif("LESION_DATA" not in os.environ, reason="needs the real images: set LESION_DATA")
def test_near_duplicates_of_real_images_are_of_one_lesion() -> None:
    """HAM10000 at 150 px: the threshold finds repeat photographs, and names no two lesions."""
    records = read_dataset(Path(os.environ["LESION_DATA"]) / "isic2019-150").records
    scan = scan_images(records, threads=1)

    pairs = audit_duplicates(scan, ["all"] * len(records), within_parts=True)

    assert scan.problems == ()
    assert len(pairs) == 5
    assert all(pair.is_same_lesion and not pair.has_label_conflict for pair in pairs)


def test_no_images_have_no_duplicates() -> None:
    """Nor one alone."""

    assert audit_duplicates(numbered(np.zeros((0, 4), dtype=np.uint64)), []) == ()
    assert audit_duplicates(numbered(np.zeros((1, 4), dtype=np.uint64)), ["a"], within_parts=True) == ()
