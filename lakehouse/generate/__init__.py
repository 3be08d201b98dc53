"""Artefacts: what a workspace and an orchestrator need, as text made from a project and its plan.

Rule: a generator is a function from a project to a mapping of path to text: no Spark, no clock, no file written, no secret.
"""
