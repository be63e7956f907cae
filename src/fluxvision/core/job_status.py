"""The states of a request that is kept in the database."""

from __future__ import annotations

QUEUED, RUNNING, CANCELLING = "queued", "running", "cancelling"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
ACTIVE = (QUEUED, RUNNING, CANCELLING)
"""Those of a request that has not ended."""
STATUSES = (*ACTIVE, COMPLETED, FAILED, CANCELLED)
