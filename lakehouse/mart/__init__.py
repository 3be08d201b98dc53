"""Marts: dimensions and facts."""
