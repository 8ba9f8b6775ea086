"""Prefect tasks and services. The work is in structxlip; DVC holds the graph of the stages."""
