"""A program: append from several threads, and print each id once the store has acknowledged it. Never ends."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from support.stored import make_record, open_store

THREADS = 3


def main(folder: Path, run: int) -> None:
    """Append as run number ``run``; ids of a run are its own."""
    store = open_store(folder, anchor_every_records=5, anchor_every_s=0.05)

    def work(thread: int) -> None:
        for number in range(10_000):
            record = make_record(1_000_000 * (run + 1) + 100_000 * thread + number)
            store.append(record)
            os.write(1, f"{record.request_id}\n".encode())  # at once, and whole

    for thread in range(THREADS):
        threading.Thread(target=work, args=(thread,)).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
