"""Exact mathematics: every formula is derived here, once, as a SymPy object. Imports nothing numerical."""
