"""What arrives: bodies, multipart forms, JSON and fields."""
