"""Types, errors, money, settings, system and concurrency, shared by all rooms; needs msgspec only."""
