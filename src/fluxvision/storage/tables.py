"""The tables of the database: API keys, requests (history, ledger and jobs), spending, submissions, webhooks, batches.

Times are Unix seconds, amounts whole micro-dollars. `storage/migrations` makes these tables; a test compares both.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, Index, Integer, MetaData, String, Table, Text

METADATA = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)
ID = String(80)
NULLABLE_JSON = JSON(none_as_null=True)

API_KEYS = Table(
    "api_keys",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", String(64), nullable=False, unique=True, comment="SHA-256 of the key, in hex"),
    Column("hint", String(16), nullable=False, comment="the first and last letters, to tell keys apart"),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("models", JSON, nullable=False, comment="ids of the allowed models; empty: all"),
    Column("budget_day", BigInteger),
    Column("budget_month", BigInteger),
    Column("budget_total", BigInteger),
    Column("per_minute", Integer, comment="most requests in a minute"),
    Column("parallel", Integer, comment="most jobs at the same time"),
)

REQUESTS = Table(
    "requests",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("key_id", ID, nullable=False, comment="the caller; empty: everybody, where no keys exist"),
    Column("created_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("model", Text, nullable=False),
    Column("provider", Text),
    Column("status", String(16), nullable=False, comment="one of core.job_status.STATUSES"),
    Column("background", Boolean, nullable=False, default=False, comment="whether nobody waits for the answer"),
    Column("reserved", BigInteger, nullable=False, default=0, comment="what it may cost, until it has ended"),
    Column("cost", BigInteger, nullable=False, default=0, comment="what it has cost, at most where that is unknown"),
    Column("idempotency_key", Text, comment="the caller's, for as long as it is kept"),
    Column("fingerprint", String(64), comment="digest of what was asked for"),
    Column("is_retry", Boolean, nullable=False, default=False, comment="whether its client had sent it before"),
    Column("job", NULLABLE_JSON, comment="all that is needed to run it (again); empty once it has ended"),
    Column("response", NULLABLE_JSON, comment="the answer, its pictures as names in the media store"),
    Column("error", NULLABLE_JSON),
    Column("webhook", NULLABLE_JSON, comment="where its end is told: a jobs.request_types.Webhook"),
    Column("batch_id", ID, comment="the batch that it is a line of"),
    Column("batch_line", Integer, comment="which of the batch's lines, from 1"),
    Column("custom_id", Text, comment="the caller's name of the line"),
    Index(None, "key_id", "created_at"),
    Index(None, "key_id", "fingerprint"),
    Index(None, "key_id", "idempotency_key", unique=True),
    Index(None, "status", "key_id"),
    Index(None, "batch_id", "batch_line", "status"),  # a batch is counted from it alone
)

SPENDING = Table(
    "spending",
    METADATA,
    Column("key_id", ID, primary_key=True, comment="the caller of the requests"),
    Column("day", Integer, primary_key=True, autoincrement=False, comment="of their admission (UTC), from 1970-01-01"),
    Column("spent", BigInteger, nullable=False, comment="the sum of `requests.cost`"),
    Column("reserved", BigInteger, nullable=False, comment="the sum of `requests.reserved`"),
)

SUBMISSIONS = Table(
    "submissions",
    METADATA,
    Column("key", ID, primary_key=True, comment="the idempotency key of a call"),
    Column("request_id", ID, nullable=False, index=True),
    Column("provider", Text, nullable=False),
    Column("upstream", NULLABLE_JSON, comment="what the provider answered; null: it was asked, and no more is known"),
    Column("created_at", Double, nullable=False),
)

EXECUTORS = Table(
    "executors",
    METADATA,
    Column("id", ID, primary_key=True, comment="a running gateway"),
    Column("seen_at", Double, nullable=False),
)

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("id", ID, primary_key=True, comment="the message's id"),
    Column("request_id", ID, nullable=False, index=True),
    Column("key_id", ID, nullable=False, comment="the caller of the request"),
    Column("url", Text, nullable=False),
    Column("base_url", Text, nullable=False, comment="of the links in the message"),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", Double, index=True, comment="when it is sent (again); null: delivered, or given up"),
    Column("delivered_at", Double),
    Column("last_error", String(40), comment="the kind of the last failure"),
    Column("created_at", Double, nullable=False),
    Index(None, "key_id", "created_at"),
)

WEBHOOK_SECRETS = Table(
    "webhook_secrets",
    METADATA,
    Column("key_id", ID, primary_key=True, comment="the caller; empty: everybody, where no keys exist"),
    Column("secret", Text, nullable=False),
    Column("previous", Text, comment="the one before, which signs too"),
    Column("previous_until", Double, comment="until when it does"),
)

FILES = Table(
    "files",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("key_id", ID, nullable=False, comment="the caller; empty: everybody, where no keys exist"),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, comment="until when it can be used; running batches read it longer"),
    Column("filename", Text, nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("name", Text, nullable=False, comment="its name in the media store"),
    Index(None, "key_id", "created_at"),
)

BATCHES = Table(
    "batches",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("key_id", ID, nullable=False, comment="the caller; empty: everybody, where no keys exist"),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, comment="when no further line is begun"),
    Column("cancelling_at", Double),
    Column("ended_at", Double),
    Column("status", String(16), nullable=False, comment="one of jobs.batch_types.BATCH_STATUSES"),
    Column("input_file_id", ID, nullable=False, index=True),
    Column("name", Text, nullable=False, comment="the name of the input file in the media store"),
    Column("metadata", NULLABLE_JSON, comment="the caller's own facts"),
    Column("base_url", Text, nullable=False, comment="of the links in webhooks"),
    Column("idempotency_key", Text, comment="the caller's"),
    Column("is_retry", Boolean, nullable=False, default=False, comment="whether its client had sent it before"),
    Column("total", Integer, nullable=False, comment="lines of the input file"),
    Column("lines", Integer, nullable=False, default=0, comment="lines that have become requests"),
    Column("offset", BigInteger, nullable=False, default=0, comment="where the next line begins in the input file"),
    Column("feeder", ID, comment="the gateway that makes requests of the lines: one of `executors`"),
    Column("missing_since", Double, comment="when a gateway first did not have the input file"),
    Index(None, "key_id", "created_at"),
    Index(None, "key_id", "idempotency_key", unique=True),
    Index(None, "status"),
)
