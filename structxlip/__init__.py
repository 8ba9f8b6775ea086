"""StructXLIP: fine-tune CLIP-style models with edge maps and structure-centric captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structxlip.serving.embedder import Embedder

__all__ = ["load"]


def load(model: str | Path, alpha: float | None = None) -> Embedder:
    """Load a trained model; see ``structxlip.serving.loading.load``."""
    from structxlip.serving.loading import load as load_embedder

    return load_embedder(model, alpha)
