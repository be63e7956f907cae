"""Where tiles are made."""
