"""Stages of the pipeline: each reads params and inputs, calls the library, writes atomically."""
