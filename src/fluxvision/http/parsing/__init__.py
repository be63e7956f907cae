"""Request parsing: bodies, multipart forms, JSON and fields."""
