"""The networks that enlarge a tile, and the registry that lists them."""
