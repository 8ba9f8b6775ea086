"""Training: batches from cached features, the loop, and its entry through Ray Train."""
