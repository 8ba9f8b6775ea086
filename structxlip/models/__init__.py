"""Models: frozen towers, the edge encoder, and StructXLIP on top of them."""
