"""Training: what a run is, how it is put together, its steps and checkpoints, and Ray Train."""
