"""Runs jobs: routes them to providers, executes them and finishes the pictures."""
