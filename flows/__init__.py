"""Prefect flows: when and under what conditions the pipeline runs."""
