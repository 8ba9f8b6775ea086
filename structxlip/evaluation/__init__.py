"""Evaluation, numbers only: retrieval metrics, statistics, and the side-by-side protocol."""
