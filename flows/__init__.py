"""Prefect flows: they decide when and under which conditions the pipeline runs."""
