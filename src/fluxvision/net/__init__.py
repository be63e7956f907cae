"""Going out: guarded downloads, the HTTP client, redaction of what comes back."""
