"""The catalogue: models, their offers by providers, public parameters, and the rules that translate them."""
