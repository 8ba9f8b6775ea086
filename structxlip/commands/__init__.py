"""The commands of `structxlip`, one file for each group; heavy imports stand inside them."""
