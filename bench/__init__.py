"""Measurements behind the claims of the documentation; `make bench` runs them all."""
