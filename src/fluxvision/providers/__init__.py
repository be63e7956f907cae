"""What runs a call: a file or package per kind of provider, and their registry."""
