"""StructXLIP: fine-tune CLIP-style models with edge maps and structure-centric captions."""
