"""Benchmarks of lakehouse: each load beside its floor, hand-written MERGE and mack, and with a growing history."""
