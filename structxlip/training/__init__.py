"""Training: the run, its assembly, steps and checkpoints, and Ray Train."""
