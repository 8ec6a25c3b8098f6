"""Invitations, bytes that accounts keep, and when folders of builds were removed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the table and the columns. Versions of older builds count as made by them."""
    op.add_column("accounts", sa.Column("most_bytes", sa.BigInteger(), nullable=True))
    op.add_column("builds", sa.Column("removed", sa.DateTime(), nullable=True))
    op.add_column("products", sa.Column("made", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.create_table(
        "invitations",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("maker", sa.String(length=64), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("expires", sa.DateTime(), nullable=False),
        sa.Column("revoked", sa.DateTime(), nullable=True),
        sa.Column("used", sa.DateTime(), nullable=True),
        sa.Column("account_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
