"""One file per model: its parameters, its providers and what each of them does."""
