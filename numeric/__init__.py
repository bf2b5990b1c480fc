"""Experiments: real networks drawn, trained and coarse-grained in Numba. Imports nothing symbolic."""
