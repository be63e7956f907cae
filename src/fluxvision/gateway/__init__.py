"""The flow: prepare, route, execute, finish."""
