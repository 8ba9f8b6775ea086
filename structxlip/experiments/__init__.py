"""Experiments: many trainings that answer one question, each a table beside its controls."""
