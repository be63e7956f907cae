"""The shared words: types, errors, money, settings, system facts, concurrency; standard library and msgspec only."""
