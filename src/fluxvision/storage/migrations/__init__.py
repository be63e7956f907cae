"""Revisions of the tables; `env.py` runs them."""
