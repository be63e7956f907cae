"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False, comment="SHA-256 of the key, in hex"),
        sa.Column(
            "hint", sa.String(length=16), nullable=False, comment="the first and last letters, to tell keys apart"
        ),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("models", sa.JSON(), nullable=False, comment="ids of the allowed models; empty: all"),
        sa.Column("budget_day", sa.BigInteger(), nullable=True),
        sa.Column("budget_month", sa.BigInteger(), nullable=True),
        sa.Column("budget_total", sa.BigInteger(), nullable=True),
        sa.Column("per_minute", sa.Integer(), nullable=True, comment="most requests in a minute"),
        sa.Column("parallel", sa.Integer(), nullable=True, comment="most jobs at the same time"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_table(
        "executors",
        sa.Column("id", sa.String(length=80), nullable=False, comment="a running gateway"),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column(
            "key_id", sa.String(length=80), nullable=False, comment="the caller; empty: everybody, where no keys exist"
        ),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False, comment="one of core.job_status.STATUSES"),
        sa.Column("background", sa.Boolean(), nullable=False, comment="whether nobody waits for the answer"),
        sa.Column("reserved", sa.BigInteger(), nullable=False, comment="what it may cost, until it has ended"),
        sa.Column("cost", sa.BigInteger(), nullable=False, comment="what it has cost, at most where that is unknown"),
        sa.Column("idempotency_key", sa.Text(), nullable=True, comment="the caller's, for as long as it is kept"),
        sa.Column("fingerprint", sa.String(length=64), nullable=True, comment="digest of what was asked for"),
        sa.Column("is_retry", sa.Boolean(), nullable=False, comment="whether its client had sent it before"),
        sa.Column(
            "job", sa.JSON(), nullable=True, comment="all that is needed to run it (again); empty once it has ended"
        ),
        sa.Column("response", sa.JSON(), nullable=True, comment="the answer, its pictures as names in the media store"),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("webhook", sa.JSON(), nullable=True, comment="where its end is told: a jobs.request_types.Webhook"),
        sa.Column("batch_id", sa.String(length=80), nullable=True, comment="the batch that it is a line of"),
        sa.Column("batch_line", sa.Integer(), nullable=True, comment="which of the batch's lines, from 1"),
        sa.Column("custom_id", sa.Text(), nullable=True, comment="the caller's name of the line"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_requests_batch_id_batch_line_status", "requests", ["batch_id", "batch_line", "status"], unique=False
    )
    op.create_index("ix_requests_key_id_created_at", "requests", ["key_id", "created_at"], unique=False)
    op.create_index("ix_requests_key_id_fingerprint", "requests", ["key_id", "fingerprint"], unique=False)
    op.create_index("ix_requests_key_id_idempotency_key", "requests", ["key_id", "idempotency_key"], unique=True)
    op.create_index("ix_requests_status_key_id", "requests", ["status", "key_id"], unique=False)
    op.create_table(
        "spending",
        sa.Column("key_id", sa.String(length=80), nullable=False, comment="the caller of the requests"),
        sa.Column(
            "day",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="of their admission (UTC), from 1970-01-01",
        ),
        sa.Column("spent", sa.BigInteger(), nullable=False, comment="the sum of `requests.cost`"),
        sa.Column("reserved", sa.BigInteger(), nullable=False, comment="the sum of `requests.reserved`"),
        sa.PrimaryKeyConstraint("key_id", "day"),
    )
    op.create_table(
        "submissions",
        sa.Column("key", sa.String(length=80), nullable=False, comment="the idempotency key of a call"),
        sa.Column("request_id", sa.String(length=80), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column(
            "upstream",
            sa.JSON(),
            nullable=True,
            comment="what the provider answered; null: it was asked, and no more is known",
        ),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_submissions_request_id", "submissions", ["request_id"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(length=80), nullable=False, comment="the message's id"),
        sa.Column("request_id", sa.String(length=80), nullable=False),
        sa.Column("key_id", sa.String(length=80), nullable=False, comment="the caller of the request"),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False, comment="of the links in the message"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column(
            "next_at", sa.Double(), nullable=True, comment="when it is sent (again); null: delivered, or given up"
        ),
        sa.Column("delivered_at", sa.Double(), nullable=True),
        sa.Column("last_error", sa.String(length=40), nullable=True, comment="the kind of the last failure"),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_deliveries_key_id_created_at", "deliveries", ["key_id", "created_at"], unique=False)
    op.create_index("ix_deliveries_next_at", "deliveries", ["next_at"], unique=False)
    op.create_index("ix_deliveries_request_id", "deliveries", ["request_id"], unique=False)
    op.create_table(
        "webhook_secrets",
        sa.Column(
            "key_id", sa.String(length=80), nullable=False, comment="the caller; empty: everybody, where no keys exist"
        ),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=True, comment="the one before, which signs too"),
        sa.Column("previous_until", sa.Double(), nullable=True, comment="until when it does"),
        sa.PrimaryKeyConstraint("key_id"),
    )
    op.create_table(
        "files",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column(
            "key_id", sa.String(length=80), nullable=False, comment="the caller; empty: everybody, where no keys exist"
        ),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column(
            "expires_at",
            sa.Double(),
            nullable=False,
            comment="until when it can be used; running batches read it longer",
        ),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="its name in the media store"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_files_key_id_created_at", "files", ["key_id", "created_at"], unique=False)
    op.create_table(
        "batches",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column(
            "key_id", sa.String(length=80), nullable=False, comment="the caller; empty: everybody, where no keys exist"
        ),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False, comment="when no further line is begun"),
        sa.Column("cancelling_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False, comment="one of jobs.batch_types.BATCH_STATUSES"),
        sa.Column("input_file_id", sa.String(length=80), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="the name of the input file in the media store"),
        sa.Column("metadata", sa.JSON(), nullable=True, comment="the caller's own facts"),
        sa.Column("base_url", sa.Text(), nullable=False, comment="of the links in webhooks"),
        sa.Column("idempotency_key", sa.Text(), nullable=True, comment="the caller's"),
        sa.Column("is_retry", sa.Boolean(), nullable=False, comment="whether its client had sent it before"),
        sa.Column("total", sa.Integer(), nullable=False, comment="lines of the input file"),
        sa.Column("lines", sa.Integer(), nullable=False, comment="lines that have become requests"),
        sa.Column("offset", sa.BigInteger(), nullable=False, comment="where the next line begins in the input file"),
        sa.Column(
            "feeder",
            sa.String(length=80),
            nullable=True,
            comment="the gateway that makes requests of the lines: one of `executors`",
        ),
        sa.Column(
            "missing_since", sa.Double(), nullable=True, comment="when a gateway first did not have the input file"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_batches_key_id_created_at", "batches", ["key_id", "created_at"], unique=False)
    op.create_index("ix_batches_key_id_idempotency_key", "batches", ["key_id", "idempotency_key"], unique=True)
    op.create_index("ix_batches_input_file_id", "batches", ["input_file_id"], unique=False)
    op.create_index("ix_batches_status", "batches", ["status"], unique=False)
