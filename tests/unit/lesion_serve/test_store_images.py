"""Kept images: readable with the key only, bound to their record, and forgotten for good."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lesion_serve.gateway.retention import Retention
from lesion_serve.store import Database, ImageKey, ImageStore, StoreError, create_key
from lesion_serve.store.erasure import Erasure, known_files
from lesion_serve.store.image_owner import OWNER
from lesion_serve.store.images import SUFFIX, file_of
from support.full_disk import full_disk
from support.stored import CLINICIAN, check, image_of, make_record, open_store

NOW = datetime.now(UTC)
SHA256 = make_record(1).image_sha256


@pytest.fixture
def images(tmp_path: Path) -> ImageStore:
    create_key(tmp_path / "key")
    return ImageStore(folder=tmp_path / "images", key=ImageKey.load(tmp_path / "key", images=tmp_path / "images"))


def kept(images: ImageStore) -> list[Path]:
    return sorted(images.folder.rglob(f"*{SUFFIX}*"))


def left_in(folder: Path, name: str, *, age_s: float) -> Path:
    """A file that no record knows."""
    path = folder / name[:2] / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"of a crash")
    os.utime(path, (0, time.time() - age_s))
    return path


def test_an_image_comes_back_and_its_file_shows_nothing_of_it(tmp_path: Path, images: ImageStore) -> None:
    """Nor do the database or the permissions."""
    with open_store(tmp_path, images=images) as store:
        store.append(make_record(1), image_of(1))
        assert store.image("request-1") == image_of(1)
        assert store.prediction("request-1").has_image

    (file,) = kept(images)
    assert file.stat().st_mode & 0o077 == 0
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert image_of(1) not in content
    found = check(tmp_path, images)
    assert (found.images, found.findings) == (1, ())


def test_images_are_not_kept_unless_switched_on(tmp_path: Path) -> None:
    """A store without a folder refuses them, and says so before."""
    with open_store(tmp_path) as store:
        assert not store.keeps_images
        with pytest.raises(StoreError) as refused:
            store.append(make_record(1), image_of(1))
        store.append(make_record(1))
        with pytest.raises(StoreError, match="was not kept"):
            store.image("request-1")

    assert refused.value.code == "no_image"


def test_a_refused_record_leaves_no_image(tmp_path: Path, images: ImageStore) -> None:
    """A request that was answered already, an image that is another one."""
    with open_store(tmp_path, images=images) as store:
        store.append(make_record(1), image_of(1))
        with pytest.raises(StoreError) as twice:
            store.append(make_record(1), image_of(1))
        with pytest.raises(StoreError) as other:
            store.append(make_record(2), image_of(3))

    assert (twice.value.code, other.value.code) == ("duplicate_request", "bad_record")
    assert len(kept(images)) == 1


@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        (None, 0o600, "new-key"),
        ("ab" * 32, 0o644, "chmod 600"),
        ("ab" * 31, 0o600, "62 characters"),
        ("zz" * 32, 0o600, "hexadecimal"),
        ("é" * 32, 0o600, "cannot be read"),
    ],
)
def test_a_key_that_cannot_be_used_says_why(tmp_path: Path, content: str | None, mode: int, sentence: str) -> None:
    """And what to do."""
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)

    with pytest.raises(StoreError, match=sentence) as refused:
        ImageKey.load(path, images=tmp_path / "images")
    assert refused.value.code == "image_key"
    assert content is None or content not in refused.value.message


def test_a_key_may_not_lie_with_its_images_nor_be_overwritten(tmp_path: Path) -> None:
    """Whoever copies the folder would have both."""
    create_key(tmp_path / "images" / "key")
    with pytest.raises(StoreError, match="own folder"):
        ImageKey.load(tmp_path / "images" / "key", images=tmp_path / "images")
    with pytest.raises(StoreError, match="exists"):
        create_key(tmp_path / "images" / "key")


def test_another_key_is_told_from_damage(tmp_path: Path, images: ImageStore) -> None:
    """By its id, which stands in the record."""
    sealed = images.seal(image_of(1), request_id="request-1", image_sha256=SHA256)
    create_key(tmp_path / "other")
    other = ImageStore(folder=images.folder, key=ImageKey.load(tmp_path / "other", images=images.folder))

    with pytest.raises(StoreError) as refused:
        other.open(sealed, request_id="request-1", image_sha256=SHA256)
    assert refused.value.code == "image_key"
    assert str(images.key).count(images.key.secret.hex() if images.key else "") == 0


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_one_altered_byte_does_not_open(images: ImageStore, data: st.DataObject) -> None:
    """Whichever it is, its head included."""
    sealed = images.seal(image_of(1), request_id="request-1", image_sha256=SHA256)
    path = images.path(file_of(sealed))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)

    with pytest.raises(StoreError) as refused:
        images.open(sealed, request_id="request-1", image_sha256=SHA256)
    assert refused.value.code == "image_damaged"


def test_an_image_in_the_place_of_another_does_not_open(images: ImageStore) -> None:
    """Not as a file, not as a fact, not under another request."""
    first, second = (
        images.seal(image_of(n), request_id=f"request-{n}", image_sha256=make_record(n).image_sha256) for n in (1, 2)
    )
    images.path(file_of(first)).write_bytes(images.path(file_of(second)).read_bytes())
    renamed = json.dumps({**json.loads(second), "file": file_of(first)})

    for sealed, number in ((first, 1), (renamed, 2), (second, 1)):
        with pytest.raises(StoreError) as refused:
            images.open(sealed, request_id=f"request-{number}", image_sha256=make_record(number).image_sha256)
        assert refused.value.code == "image_damaged"


def test_an_audit_finds_lost_and_altered_images(tmp_path: Path, images: ImageStore) -> None:
    """A lost one without the key as well."""
    with open_store(tmp_path, images=images) as store:
        for number in (1, 2):
            store.append(make_record(number), image_of(number))
    first, second = kept(images)
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()

    with_key, without = check(tmp_path, images), check(tmp_path, ImageStore(folder=images.folder))

    assert sorted(finding.code for finding in with_key.findings) == ["image_damaged", "image_missing"]
    assert [finding.code for finding in without.findings] == ["image_missing"]


def test_old_images_go_and_the_chain_says_so(tmp_path: Path, images: ImageStore) -> None:
    """Younger ones stay, as does everything else of the record; an unfinished file goes when it is old."""
    with open_store(tmp_path, images=images) as store:
        for number, days in ((1, 40), (2, 20)):
            store.append(make_record(number, at=NOW - timedelta(days=days)), image_of(number))
        unfinished = left_in(images.folder, f"{'a' * 32}{SUFFIX}.part", age_s=7200)
        young = left_in(images.folder, f"{'b' * 32}{SUFFIX}.part", age_s=60)
        done = store.erase_old_images(older_than_days=30, principal=CLINICIAN)
        old, new = (store.prediction(f"request-{number}") for number in (1, 2))
        with pytest.raises(StoreError, match="was erased"):
            store.image("request-1")
        assert store.image("request-2") == image_of(2)

    assert (done.images, done.orphans) == (1, 1)
    assert (old.has_image, old.erased, old.subject) == (False, ("image",), "person-1")
    assert new.has_image
    assert young.exists()
    assert not unfinished.exists()
    assert check(tmp_path, images).findings == ()


def test_the_file_of_an_erased_image_is_useless_even_from_a_copy(tmp_path: Path, images: ImageStore) -> None:
    """Its key is gone from the database."""
    with open_store(tmp_path, images=images) as store:
        store.append(make_record(1), image_of(1))
        (file,) = kept(images)
        copy = file.read_bytes()
        store.erase_subject("person-1", principal=CLINICIAN, reason="case-1")
        assert kept(images) == []
        file.write_bytes(copy)
        with pytest.raises(StoreError, match="was erased"):
            store.image("request-1")

    database = (tmp_path / "predictions.db").read_bytes()
    assert b"wrapped" not in database
    assert check(tmp_path, images).findings == ()


def test_a_full_disk_leaves_no_image_and_no_record(tmp_path: Path, images: ImageStore) -> None:
    """And the next one is kept."""
    with open_store(tmp_path, images=images, anchor_every_s=3600) as store:
        with full_disk(beyond_bytes=10), pytest.raises(StoreError) as refused:
            store.append(make_record(1), image_of(1))
        assert kept(images) == []
        store.append(make_record(1), image_of(1))

    assert refused.value.code == "store_full"
    assert check(tmp_path, images).findings == ()


def test_a_gateway_erases_old_images_by_itself_and_says_so_in_the_log(tmp_path: Path, images: ImageStore) -> None:
    """At once and again; young ones stay, and a failure is tried again."""
    with open_store(tmp_path, images=images) as store:
        for number, age in enumerate((timedelta(days=40), timedelta(days=2))):
            store.append(make_record(number, at=NOW - age), image_of(number))
        tries, was_erase = list[float](), store.erase_old_images

        def erase(**given: Any) -> Erasure:
            tries.append(given["older_than_days"])
            if len(tries) == 1:
                raise StoreError("It is busy.", code="store_busy")
            return was_erase(**given)

        store.erase_old_images = erase  # type: ignore[method-assign]
        retention = Retention(store, images_days=30, every_s=0.01)
        deadline = time.monotonic() + 60
        while len(tries) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        retention.stop()

        assert [store.prediction(f"request-{number}").has_image for number in (0, 1)] == [False, True]
    assert len(kept(images)) == 1
    assert set(tries) == {30}
    assert check(tmp_path, images).findings == ()


def test_images_that_a_store_does_not_know_survive_every_erasure(tmp_path: Path, images: ImageStore) -> None:
    """A database brought back from a backup does not know those that came later, also once it has gone on."""
    with open_store(tmp_path, images=images) as store:
        store.append(make_record(1, at=NOW - timedelta(days=40)), image_of(1))
    shutil.copy(tmp_path / "predictions.db", tmp_path / "backup.db")
    with open_store(tmp_path, images=images) as store:
        store.append(make_record(2), image_of(2))
    for path in kept(images):
        os.utime(path, (0, time.time() - 7200))
    newer = images.path(next(path.name for path in kept(images) if path.name not in names_in(tmp_path / "backup.db")))
    shutil.copy(tmp_path / "backup.db", tmp_path / "predictions.db")
    shutil.rmtree(tmp_path / "anchors")

    with open_store(tmp_path, images=images) as store:
        store.append(make_record(3, at=NOW), image_of(3))
        store.erase_subject("a slip of the pen", principal=CLINICIAN, reason="case-1")
        done = store.erase_old_images(older_than_days=30, principal=CLINICIAN)

    assert (done.images, done.orphans) == (1, 0)
    assert newer.exists()
    found = check(tmp_path, images)
    assert found.is_intact
    assert [remark for remark in found.remarks if remark.startswith("1 images in")]


def names_in(database: Path) -> set[str]:
    """Files of images that a copy of a database knows."""
    copy = Database(f"sqlite:///{database}")
    with contextlib.closing(copy):
        return known_files(copy)


def test_a_folder_of_images_belongs_to_one_store(tmp_path: Path, images: ImageStore) -> None:
    """Another one is refused by name, for writing and for erasing, and nothing is deleted."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with open_store(tmp_path / "first", images=images) as store:
        store.append(make_record(1), image_of(1))
    (file,) = kept(images)
    open_store(tmp_path / "second").close()

    for create, used in ((True, images), (False, ImageStore(folder=images.folder))):
        with pytest.raises(StoreError, match="belongs to another prediction store") as refused:
            open_store(tmp_path / "second", images=used, create=create)
        assert refused.value.code == "foreign_images"
    assert file.exists()
    with open_store(tmp_path / "first", images=images) as store:
        assert store.image("request-1") == image_of(1)


def test_a_folder_of_an_earlier_release_is_its_stores_who_knows_its_images(tmp_path: Path, images: ImageStore) -> None:
    """It did not say whose it is: whoever knows an image takes it over, a stranger is refused."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with open_store(tmp_path / "first", images=images) as store:
        store.append(make_record(1), image_of(1))
    (images.folder / OWNER).unlink()

    with pytest.raises(StoreError, match="none of which this store knows") as refused:
        open_store(tmp_path / "second", images=images)
    assert refused.value.code == "foreign_images"
    assert not (images.folder / OWNER).exists()
    open_store(tmp_path / "first", images=ImageStore(folder=images.folder), create=False).close()
    assert not (images.folder / OWNER).exists()
    open_store(tmp_path / "first", images=images).close()
    assert (images.folder / OWNER).exists()


def test_a_folder_whose_owner_cannot_be_read_is_refused(tmp_path: Path, images: ImageStore) -> None:
    """Rather than taken over."""
    open_store(tmp_path, images=images).close()
    (images.folder / OWNER).write_text("{}")

    with pytest.raises(StoreError, match="does not say which prediction store") as refused:
        open_store(tmp_path, images=images)
    assert refused.value.code == "foreign_images"


def test_an_image_whose_record_nobody_is_sure_of_goes_with_the_next_retention(
    tmp_path: Path, images: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it is old and no record came about; the store has written it itself, so it can be nobody else's."""

    def fail(entry: object) -> None:
        raise StoreError("The connection broke.", code="store_unreachable")

    with open_store(tmp_path, images=images) as store:
        with monkeypatch.context() as patched:
            patched.setattr(store, "_append", fail)
            with pytest.raises(StoreError, match="broke"):
                store.append(make_record(1), image_of(1))
        store.append(make_record(2), image_of(2))
        young = store.erase_old_images(older_than_days=9999, principal=CLINICIAN)
        for path in kept(images):
            os.utime(path, (0, time.time() - 7200))
        old = store.erase_old_images(older_than_days=9999, principal=CLINICIAN)
        assert store.image("request-2") == image_of(2)

    assert (young.orphans, old.orphans, len(kept(images))) == (0, 1, 1)


def test_an_erasure_that_cannot_delete_an_image_erases_nothing_and_can_be_repeated(
    tmp_path: Path, images: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is left that no record names any more."""

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with open_store(tmp_path, images=images) as store:
        store.append(make_record(1), image_of(1))
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", refuse)
            with pytest.raises(StoreError, match="cannot be deleted") as refused:
                store.erase_subject("person-1", principal=CLINICIAN, reason="case-1")
        assert store.image("request-1") == image_of(1)
        store.erase_subject("person-1", principal=CLINICIAN, reason="case-1")

    assert refused.value.code == "store_read_only"
    assert kept(images) == []
    assert check(tmp_path, images).findings == ()
