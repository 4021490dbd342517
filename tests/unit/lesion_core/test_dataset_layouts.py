"""Each layout: what a writer of it wrote is what its reader finds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lesion_core.datasets import LAYOUTS, dermamnist, ham10000, isic, isic_archive, read_dataset, read_layout
from lesion_core.datasets.cells import ANATOMICAL_SITES
from lesion_core.datasets.folder import TEST
from lesion_core.errors import DatasetError
from lesion_core.imaging import decode_image
from lesion_core.records import ImageRecord
from lesion_core.taxonomy import ISIC_2019
from support import layouts
from support.layouts import FakeImage, fake_images

ONE = FakeImage(name="ISIC_0000001", diagnosis="NV", lesion="HAM_0000001")


def by_id(records: list[ImageRecord]) -> tuple[ImageRecord, ...]:
    return tuple(sorted(records, key=lambda record: record.isic_id))


@settings(max_examples=20)
@given(st.data())
@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_a_reader_finds_what_was_written(layout: str, data: st.DataObject) -> None:
    """Every field that the layout has, blank or not; the layout that was recognised is in the name."""
    write, codes = layouts.LAYOUTS[layout]
    images = data.draw(fake_images(codes))
    with tempfile.TemporaryDirectory() as scratch:
        expected = by_id(write(Path(scratch), images))

        dataset = read_dataset(Path(scratch))

        assert dataset.records == expected
        assert dataset.name == f"{layout}:{Path(scratch).resolve().name}"
        assert dataset.test == ()


def test_every_layout_is_tested_and_has_a_data_card() -> None:
    """Source, licence, content and citation."""
    assert {layout.name for layout in LAYOUTS} == {*layouts.LAYOUTS, dermamnist.LAYOUT}
    for layout in LAYOUTS:
        for heading in ("Content:", "Source", "icence:", "Citation:", "Lesions"):
            assert heading in (layout.read.__doc__ or ""), f"{layout.name} lacks {heading}"


def test_a_folder_of_nothing_known_names_all_layouts(tmp_path: Path) -> None:
    """With what each of them expects."""
    (tmp_path / "notes.txt").write_text("nothing here")

    with pytest.raises(DatasetError) as caught:
        read_dataset(tmp_path)

    for layout in LAYOUTS:
        assert f"{layout.name}: {layout.expects}" in caught.value.problems


def test_images_of_ham10000_may_be_anywhere_in_the_folder(tmp_path: Path) -> None:
    """Copies of the set have folders of other names."""
    layouts.write_ham10000(tmp_path, [ONE])
    (tmp_path / ham10000.IMAGES[0]).rename(tmp_path / "pictures")

    assert read_dataset(tmp_path).records[0].path == tmp_path / "pictures" / "ISIC_0000001.jpg"


def test_ham10000_reads_as_the_dataverse_exports_it(tmp_path: Path) -> None:
    """Tab-separated, without the column ``dataset``."""
    layouts.write_ham10000(tmp_path, [ONE])
    table = tmp_path / ham10000.METADATA[0]
    text = table.read_text().replace(",dataset", "").replace(",rosendahl", "").replace(",", "\t")
    table.with_suffix(".tab").write_text(text)
    table.unlink()

    (record,) = read_dataset(tmp_path).records

    assert (record.source, record.lesion_id) == ("HAM10000", "HAM_0000001")


@pytest.mark.parametrize("sites", [ham10000.SITES, layouts.pad_ufes_20.SITES])
def test_body_sites_become_those_of_the_archive(sites: dict[str, str]) -> None:
    """Or blank, where the source does not say enough."""

    assert set(sites.values()) - {""} <= set(ANATOMICAL_SITES)


def test_isic_2018_without_groupings_makes_each_image_a_lesion(tmp_path: Path) -> None:
    """The groupings are a download of their own."""
    layouts.write_isic_2018(tmp_path, [ONE])
    (tmp_path / isic.GROUPINGS_2018).unlink()

    assert read_dataset(tmp_path).records[0].lesion_id == "image:ISIC_0000001"


def test_a_patient_of_pad_ufes_20_has_several_lesions(tmp_path: Path) -> None:
    """Lesions are counted by patient there: lesion 1 of two patients is two lesions."""
    images = [FakeImage(name=f"P{n}", diagnosis="NV", lesion="1", patient=f"PAT_{n}") for n in range(2)]
    layouts.write_pad_ufes_20(tmp_path, images)

    assert [r.lesion_id for r in read_dataset(tmp_path).records] == ["PAT_0_1", "PAT_1_1"]


def test_other_diagnoses_of_the_archive_are_left_out_and_counted(tmp_path: Path) -> None:
    """It holds hundreds of them."""
    images = [FakeImage(name=f"ISIC_{n}", diagnosis="NV") for n in range(3)]
    layouts.write_isic_archive(tmp_path, images)
    table = tmp_path / isic_archive.METADATA
    lines = table.read_text().splitlines()
    lines[1] = lines[1].replace("a kind of it", "Verruca").replace("Nevus", "Infectious")
    lines[2] = lines[2].replace("a kind of it", "").replace("Nevus", "")
    table.write_text("\n".join(lines))

    dataset = read_dataset(tmp_path)

    assert [record.isic_id for record in dataset.records] == ["ISIC_2"]
    assert dataset.left_out == {"Verruca": 1, "no diagnosis": 1}


def test_a_licence_that_was_not_asked_for_is_a_problem(tmp_path: Path) -> None:
    """The archive's filter is not trusted blindly."""
    layouts.write_isic_archive(tmp_path, [ONE], licence="CC-BY-NC")

    assert isic_archive.read_isic_archive(tmp_path).problems == ()
    (problem,) = isic_archive.read_isic_archive(tmp_path, ("CC-0", "CC-BY")).problems
    assert problem == "metadata.csv row 2: 'ISIC_0000001' is under CC-BY-NC, not CC-0 or CC-BY"


def test_the_test_folder_is_kept_apart(tmp_path: Path) -> None:
    """Its ids cannot clash with those of the training images."""
    layouts.write_class_folders(tmp_path, [ONE])
    layouts.write_pictures(tmp_path / TEST / "nevus", ["ISIC_0000001.jpg"])

    dataset = read_dataset(tmp_path)

    assert [record.isic_id for record in dataset.test] == ["Test/nevus/ISIC_0000001.jpg"]
    assert len(dataset.records) == 1


@settings(max_examples=10)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.sampled_from([28, 64]))
def test_dermamnist_keeps_its_pixels_and_labels(labels: list[int], side_px: int) -> None:
    """Small images are enlarged by whole pixels, since nothing below 32 px is decoded."""
    with tempfile.TemporaryDirectory() as scratch:
        path = layouts.write_dermamnist(Path(scratch), {"train": labels, "val": [0], "test": [6, 1]}, side_px)
        repeat = 2 if side_px == 28 else 1

        dataset = read_dataset(Path(scratch))

        expected = [ISIC_2019.resolve(dermamnist.LABELS[label]).code for label in labels]
        assert [r.diagnosis for r in dataset.records if r.isic_id.startswith("train")] == expected
        assert [r.isic_id for r in dataset.test] == ["test_00000", "test_00001"]
        with np.load(path) as arrays:
            original = arrays["train_images"][0]
        decoded = decode_image(dataset.records[0].path.read_bytes())
        np.testing.assert_array_equal(decoded[::repeat, ::repeat], original)
        assert decoded.shape == (repeat * side_px, repeat * side_px, 3)


def test_the_test_images_of_isic_2019_are_read_to_measure_with(tmp_path: Path) -> None:
    """Their metadata names no lesion, and some are none of the trained classes."""
    one, two = "ISIC_0000001", "ISIC_0000002"
    layouts.write_isic_2019(
        tmp_path, [FakeImage(name=one, diagnosis="MEL", age=40), FakeImage(name=two, diagnosis="UNK")]
    )
    for name in (isic.GROUND_TRUTH, isic.IMAGES, isic.METADATA):
        (tmp_path / name).rename(tmp_path / name.replace("Training", "Test"))
    metadata = tmp_path / isic.METADATA_TEST
    metadata.write_text(metadata.read_text().replace("lesion_id", "rating"))

    dataset = read_dataset(tmp_path, with_none=True)

    assert [(r.isic_id, r.diagnosis, r.age_approx) for r in dataset.records] == [
        (one, "MEL", 40),
        (two, "UNK", None),
    ]
    assert len({record.lesion_id for record in dataset.records}) == 2
    assert f"{isic.METADATA_TEST} has no column lesion_id" in dataset.notes
    assert dataset.source == isic.SOURCE


@pytest.mark.parametrize("used", ["Training", "Test"])
def test_the_download_of_isic_2019_that_is_not_read_is_noted(tmp_path: Path, used: str) -> None:
    """In a folder that holds both; the training images are taken where their ground truth is there."""
    layouts.write_isic_2019(tmp_path, [ONE])
    other = {"Training": "Test", "Test": "Training"}[used]
    for name in (isic.GROUND_TRUTH, isic.IMAGES, isic.METADATA):
        (tmp_path / name).rename(tmp_path / name.replace("Training", used))
    assert read_dataset(tmp_path).notes == ()
    layouts.write_pictures(tmp_path / isic.IMAGES.replace("Training", other), ["ISIC_9999999.jpg"])

    dataset = read_dataset(tmp_path)

    assert [record.isic_id for record in dataset.records] == [ONE.name]
    assert dataset.notes == (
        f"this is read as the {used.lower()} download of ISIC 2019, so what is here of its {other.lower()} download is "
        f"not used: ISIC_2019_{other}_Input. Keep the two in folders of their own",
    )


def test_another_data_set_in_the_folder_is_noted(tmp_path: Path) -> None:
    """One table is read; the images of the other would be missed."""
    layouts.write_isic_2019(tmp_path, [ONE])
    layouts.write_ham10000(tmp_path, [attrs.evolve(ONE, name="ISIC_0000002")])

    dataset = read_dataset(tmp_path)

    assert [record.isic_id for record in dataset.records] == [ONE.name]
    assert dataset.notes == ("the folder also holds data in the layout ham10000, which is not used: move it elsewhere",)


def test_weights_of_the_challenge_are_noted(tmp_path: Path) -> None:
    """The official test ground truth has them: scores without them are not those of its leaderboard."""
    layouts.write_isic_2019(tmp_path, [ONE, attrs.evolve(ONE, name="ISIC_0000002")])
    table = tmp_path / isic.GROUND_TRUTH
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{header},score_weight", f"{rows[0]},1.0", f"{rows[1]},0", ""]))

    assert read_dataset(tmp_path).notes == (
        f"{isic.GROUND_TRUTH} has a column score_weight, which is not used: each image counts once, also the 1 whose "
        "weight is not 1",
    )


def test_dermamnist_is_unpacked_once(tmp_path: Path) -> None:
    """And a folder of another file's images is not taken for it."""
    layouts.write_dermamnist(tmp_path, {"train": [1], "val": [2], "test": [3]})
    first = read_dataset(tmp_path).records[0].path.stat().st_mtime_ns

    assert read_dataset(tmp_path).records[0].path.stat().st_mtime_ns == first
    layouts.write_dermamnist(tmp_path, {"train": [1, 1], "val": [2], "test": [3]})
    with pytest.raises(DatasetError, match="images of another file; remove it"):
        read_dataset(tmp_path)


def test_two_sizes_of_dermamnist_are_a_problem(tmp_path: Path) -> None:
    """They hold the same images, and would be in train and test twice."""
    path = layouts.write_dermamnist(tmp_path, {"train": [1], "val": [2], "test": [3]})
    (tmp_path / "dermamnist_64.npz").write_bytes(path.read_bytes())

    assert read_layout(tmp_path).problems == ("dermamnist_64.npz: the same images as dermamnist.npz; keep one file",)


def test_a_broken_dermamnist_leaves_nothing_behind(tmp_path: Path) -> None:
    """Unpacking is all or nothing."""
    path = layouts.write_dermamnist(tmp_path, {"train": [1] * 50, "val": [2], "test": [3]})
    path.write_bytes(path.read_bytes()[:-4000])

    assert "cannot be read or unpacked" in read_layout(tmp_path).problems[0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["dermamnist.npz"]


def test_images_of_dermamnist_without_a_label_are_a_problem(tmp_path: Path) -> None:
    """Not left out in silence."""
    path = layouts.write_dermamnist(tmp_path, {"train": [1, 2, 3], "val": [2], "test": [3]})
    with np.load(path) as arrays:
        np.savez(path, **{**arrays, "train_labels": arrays["train_labels"][:2]})

    assert read_layout(tmp_path).problems == (
        "dermamnist.npz: train_images holds 3 images, train_labels only 2 labels",
    )


@pytest.mark.parametrize("shape", [(2, 0, 28, 3), (2, 28, 0, 3), (2, 28, 28, 1), (2, 28, 28)])
def test_arrays_that_hold_no_images_are_a_problem(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """By their shape."""
    path = layouts.write_dermamnist(tmp_path, {"train": [1, 2], "val": [2], "test": [3]})
    with np.load(path) as arrays:
        np.savez(path, **{**arrays, "train_images": np.zeros(shape, np.uint8)})

    (problem,) = read_layout(tmp_path).problems

    assert f"images are uint8 {shape}" in problem


def test_dermamnist_never_runs_what_a_file_holds(tmp_path: Path) -> None:
    """Arrays of objects are pickles, and loading a pickle runs code."""
    pickled = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "dermamnist.npz", train_images=pickled, train_labels=pickled)

    assert "cannot be read or unpacked" in read_layout(tmp_path).problems[0]


def test_an_enlarged_image_is_a_plain_png(tmp_path: Path) -> None:
    """Any other program can look at it."""
    layouts.write_dermamnist(tmp_path, {"train": [1], "val": [2], "test": [3]})

    with Image.open(read_dataset(tmp_path).records[0].path) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (56, 56))
