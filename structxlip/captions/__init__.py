"""Structure of a caption: the structural caption, and its chunks."""

from structxlip.captions.chunks import Chunk, sliding_chunks
from structxlip.captions.language import (
    installed_language_models,
    language_model_release,
    load_language_model,
)
from structxlip.captions.lexicon import Lexicon, load_lexicon
from structxlip.captions.sides import names_side
from structxlip.captions.structure import StructuralCaption, structure_caption

__all__ = [
    "Chunk",
    "Lexicon",
    "StructuralCaption",
    "installed_language_models",
    "language_model_release",
    "load_language_model",
    "load_lexicon",
    "names_side",
    "sliding_chunks",
    "structure_caption",
]
