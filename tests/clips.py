"""A small CLIP model of open_clip that tests write as a configuration file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

IMAGE_PX, TEXT_LENGTH = 32, 40
TINY: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": IMAGE_PX,
        "layers": 2,
        "width": 32,
        "head_width": 16,
        "patch_size": 16,
    },
    "text_cfg": {
        "context_length": TEXT_LENGTH,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 2,
    },
}


def write_tiny_clip(folder: Path, **changes: Any) -> str:
    """The name of a random CLIP of 32 px and 40 tokens."""
    file = folder / "tiny_clip.json"
    file.write_text(json.dumps(TINY | changes))
    return f"open_clip:{file}"
