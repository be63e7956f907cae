"""Who may call, and what it costs them."""
