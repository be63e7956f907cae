"""API keys, rate limits and daily budgets of callers."""
