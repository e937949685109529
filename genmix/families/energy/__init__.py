"""Densities known up to a constant, and chains that draw from them."""
