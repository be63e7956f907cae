"""The Model Context Protocol: tools for language models that call this project's own HTTP API."""
