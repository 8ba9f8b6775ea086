"""Tracking in MLflow: the run of each training, registered models, and the gate to `champion`."""
