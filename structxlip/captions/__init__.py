"""Structural cues of a caption: its structure-centric form, and the chunks of that form."""

from structxlip.captions.chunks import Chunk, sliding_chunks
from structxlip.captions.language import (
    installed_language_models,
    language_model_release,
    load_language_model,
)
from structxlip.captions.lexicon import Lexicon, load_lexicon
from structxlip.captions.structure import StructuralCaption, structure_caption

__all__ = [
    "Chunk",
    "Lexicon",
    "StructuralCaption",
    "installed_language_models",
    "language_model_release",
    "load_language_model",
    "load_lexicon",
    "sliding_chunks",
    "structure_caption",
]
