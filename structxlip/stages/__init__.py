"""Stages of the pipeline, one module each: read parameters and inputs, call the library, write
outputs atomically."""
