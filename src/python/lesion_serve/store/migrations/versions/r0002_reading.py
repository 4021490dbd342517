"""Indexes for those who read: by time and model, and by subject."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes."""
    op.create_index("event_time", "event", ["kind", "at", "position"])
    op.create_index("event_model", "event", ["model_name", "model_version", "at", "position"])
    # Only what is searched for: a comment may be longer than an index of PostgreSQL takes.
    for name, column in (("subject", "value"), ("image", "position")):
        only = sa.text(f"name = '{name}'")
        op.create_index(f"fact_{name}", "fact", [column], sqlite_where=only, postgresql_where=only)
