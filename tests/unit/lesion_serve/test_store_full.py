"""A store without room: it says so by name, writes nothing half, and goes on once there is room."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesion_serve.store import PredictionStore, StoreError
from support.full_disk import full_disk
from support.stored import check, make_record, open_store


def pages_allowed(store: PredictionStore, more: int | None) -> None:
    """Let the database grow by so many pages, or freely; on the one connection that the pool reuses."""
    with store.database.reading() as connection:
        used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {2**30 if more is None else used + more}")


def test_a_full_database_refuses_by_name_writes_nothing_half_and_goes_on(tmp_path: Path) -> None:
    """What was acknowledged stays; what was refused can be written once there is room."""
    with open_store(tmp_path) as store:
        pages_allowed(store, 8)
        number, refused = 0, None
        while refused is None:
            try:
                store.append(make_record(number))
                number += 1
            except StoreError as error:
                refused = error
        acknowledged = [found.request_id for found in store.predictions()]
        pages_allowed(store, None)
        store.append(make_record(number))

    assert refused.code == "store_full"
    assert "full" in refused.message
    assert acknowledged == [f"request-{n}" for n in range(number)]
    found = check(tmp_path)
    assert (found.events, found.findings) == (number + 2, ())


def test_a_full_disk_refuses_by_name_and_the_next_record_is_written(tmp_path: Path) -> None:
    """The system itself refuses to write."""
    with open_store(tmp_path, anchor_every_s=3600, anchor_every_records=10**6) as store:
        store.append(make_record(1))
        with full_disk(beyond_bytes=4096), pytest.raises(StoreError) as refused:
            store.append(make_record(2))
        store.append(make_record(2))

    assert refused.value.code == "store_full"
    found = check(tmp_path)
    assert (found.events, found.findings) == (3, ())
