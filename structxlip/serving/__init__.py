"""Serving: from image bytes and texts to embeddings, and the registered MLflow model."""
