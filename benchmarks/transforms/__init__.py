"""How fast the transforms are, beside peers and floors on the same rows."""
