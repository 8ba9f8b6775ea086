"""Data: sources of pairs, validation and quarantine, splits, images, texts, and the pair store."""
