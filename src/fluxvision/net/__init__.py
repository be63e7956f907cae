"""Outgoing HTTP: the client, downloads from public addresses only, redaction of responses."""
