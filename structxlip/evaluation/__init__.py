"""Evaluation: retrieval metrics, the side-by-side protocol, and the report."""
