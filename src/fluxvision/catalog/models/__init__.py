"""The models of the catalogue, one file each, and the rules that they share."""
