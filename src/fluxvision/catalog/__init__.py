"""The one table: models, providers and parameters, and what each rule does."""
