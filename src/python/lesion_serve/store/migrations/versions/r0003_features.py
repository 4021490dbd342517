"""What monitoring keeps of an image, outside of the chain: it is a fingerprint, and has to go without a trace."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "feature",
        sa.Column("position", sa.BigInteger, sa.ForeignKey("event.position"), primary_key=True, autoincrement=False),
        sa.Column("value", sa.Text, nullable=False),
    )
