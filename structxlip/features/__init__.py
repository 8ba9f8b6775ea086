"""Features: the memory-mapped store that training reads, and the store of edge maps."""
