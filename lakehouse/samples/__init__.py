"""Samples: small sources to try the library on."""
