"""The prediction store: who asked when, which model answered what, and what clinicians said of it.

A record is on the disk before its answer leaves. The log is only appended to, and each event holds the digest of the
one before (``chain``), so that an altered, lost or moved record is found (``audit``). What is personal – the subject,
the fingerprint of the image, a file name, a comment, the key of a kept image – lies outside of the hashed content,
which holds a salted commitment to it; erasing it leaves the chain whole, and is an event of the chain itself
(``erasure``). What monitoring compares of an image lies beside the chain, and goes with it. The head of the chain is
noted in a second place (``anchors``). Images are not kept unless switched on (``images``).

What this finds: anything that is changed, removed, inserted or moved in the database by whoever does not also rewrite
all that follows; a database that was cut short, exchanged or brought back from an older copy, and a log that was
rewritten with all its digests, as far as the last anchor reaches.

What it does not find: a rewrite by somebody who can write both the database and the anchors, since nothing in the
chain is secret; a rewrite of events younger than the last anchor (100 records or 10 s); records that the program was
made not to write. So keep the anchors where the database's administrator cannot write, or note the head that
``lesion-serve audit verify`` prints. Nor is it encryption: who reads the database reads subjects and answers.

What erasing means: the row is deleted and its space overwritten on SQLite (``secure_delete``, and the write-ahead log
is emptied); on PostgreSQL ``VACUUM`` frees it for reuse. Where another program stands in the way of that, the erasure
says so (``scrubbing``). Nothing more is written of a request whose person was erased. Copies of the database that were
made before still have it, so they need a retention of their own; for those images too, whose keys are in such copies.
A file of an image that the database does not know is not deleted: it may be another's (``images``)."""

from lesion_serve.store.anchors import AnchorFile
from lesion_serve.store.audit import Finding, Verification, verify
from lesion_serve.store.database import Database
from lesion_serve.store.erasure import Erasure
from lesion_serve.store.errors import StoreError
from lesion_serve.store.images import ImageKey, ImageStore, create_key
from lesion_serve.store.listing import LONGEST_PAGE, UNREVIEWED, Search
from lesion_serve.store.past_erasures import PastErasure, erasures_after, newest_time
from lesion_serve.store.prediction_store import PredictionStore, default_anchors, default_url
from lesion_serve.store.reading import Window
from lesion_serve.store.records import (
    LONGEST_COMMENT,
    AlertRecord,
    FeedbackRecord,
    PredictionRecord,
    Principal,
    Receipt,
    Role,
    Source,
    StoredFeedback,
    StoredPrediction,
    Verdict,
)

__all__ = [
    "LONGEST_COMMENT",
    "LONGEST_PAGE",
    "UNREVIEWED",
    "AlertRecord",
    "AnchorFile",
    "Database",
    "Erasure",
    "FeedbackRecord",
    "Finding",
    "ImageKey",
    "ImageStore",
    "PastErasure",
    "PredictionRecord",
    "PredictionStore",
    "Principal",
    "Receipt",
    "Role",
    "Search",
    "Source",
    "StoreError",
    "StoredFeedback",
    "StoredPrediction",
    "Verdict",
    "Verification",
    "Window",
    "create_key",
    "default_anchors",
    "default_url",
    "erasures_after",
    "newest_time",
    "verify",
]
