"""Prefect tasks and services: thin; the work is in structxlip, the graph is DVC's."""
