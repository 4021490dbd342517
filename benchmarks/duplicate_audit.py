"""How many duplicates are in a data set, and how near is near?

    ./pants run benchmarks/duplicate_audit.py -- DIR [BACKBONE]

DIR is in a layout with lesion ids, such as ISIC 2019. For each distance of the perceptual hash, and with BACKBONE (such
as efficientnet_lite0) for each cosine of its embeddings, the pairs of images are counted that the source says show one
lesion, and those under two lesion ids. A good threshold has many of the first and few of the second, and those are to
be looked at. Beside it: the same files, which is all that a digest finds. Takes about a minute for 20,854 images of
84 px; with BACKBONE 5 to 15 minutes more.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

from lesion_core.audit import MAX_HASH_DISTANCE, DuplicatePair, Likeness, audit_duplicates
from lesion_core.datasets import read_dataset
from lesion_core.scan import scan_images
from lesion_train.data_report import MIN_COSINE, embed

THREADS = 2
HASH_STEPS = (0, 8, 16, 24, 32, 36, 40, 44, 48)
COSINE_STEPS = (1.0, 0.99, 0.98, 0.97, 0.96, 0.95, 0.94)


def main() -> None:
    """Print counts by threshold."""
    records = read_dataset(Path(sys.argv[1])).records
    start = time.perf_counter()
    scan = scan_images(records, threads=THREADS)
    print(f"{len(records):,} images scanned in {time.perf_counter() - start:.0f} s")
    everywhere = ["all"] * len(scan.records)
    start = time.perf_counter()
    pairs = audit_duplicates(scan, everywhere, within_parts=True)
    print(f"compared in {time.perf_counter() - start:.0f} s")
    wide = audit_duplicates(scan, everywhere, within_parts=True, max_hash_distance=HASH_STEPS[-1])
    print("pairs of                                    one lesion  two lesion ids  of these with two diagnoses")
    show("the same file (baseline)", (pair for pair in wide if pair.likeness == Likeness.SAME_FILE))
    show("the same pixels, in any file", (p for p in wide if p.likeness in (Likeness.SAME_FILE, Likeness.SAME_PIXELS)))
    for step in HASH_STEPS:
        chosen = "  <- the default" if step == MAX_HASH_DISTANCE else ""
        show(f"hash distance up to {step} of 256 bits", (p for p in wide if p.hash_distance <= step), chosen)
    print("pairs under two lesion ids, at the default:")
    for pair in pairs:
        if not pair.is_same_lesion:
            labels = "/".join(sorted({pair.first.diagnosis, pair.second.diagnosis}))
            print(f"  {pair.hash_distance:3} {pair.first.isic_id} {pair.second.isic_id} {labels}")
    if len(sys.argv) > 2:
        start = time.perf_counter()
        embeddings = embed(scan.records, sys.argv[2], threads=THREADS)
        print(f"embedded in {time.perf_counter() - start:.0f} s")
        start = time.perf_counter()
        alike = audit_duplicates(
            scan, everywhere, within_parts=True, embeddings=embeddings, min_cosine=COSINE_STEPS[-1]
        )
        print(f"compared in {time.perf_counter() - start:.0f} s")
        for cosine in COSINE_STEPS:
            chosen = "  <- the default" if cosine == MIN_COSINE else ""
            show(f"cosine of at least {cosine}", (p for p in alike if (p.cosine or 0) >= cosine), chosen)


def show(what: str, pairs: Iterable[DuplicatePair], note: str = "") -> None:
    """One row of counts."""
    found = list(pairs)
    two = [pair for pair in found if not pair.is_same_lesion]
    conflicts = sum(pair.has_label_conflict for pair in two)
    print(f"  {what:40} {len(found) - len(two):11,} {len(two):15,} {conflicts:10,}{note}")


if __name__ == "__main__":
    main()
