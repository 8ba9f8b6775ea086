"""The structural losses in a plain open_clip training loop.

    python examples/plug_and_play.py --steps 40

The script trains a small CLIP with random weights on drawings, so that it runs anywhere in a
minute; put your own model and data in their places. A `+` marks each line that StructXLIP adds to a
loop with the CLIP loss alone. Every fifth step prints the CLIP loss, the three structural losses,
and their weighted sum `loss`.
"""

from __future__ import annotations

import argparse
import importlib.resources
from dataclasses import dataclass

import numpy as np
import open_clip
import torch
from torch import Tensor

from structxlip.captions import load_language_model, load_lexicon, structure_caption
from structxlip.cues import canny, has_structure
from structxlip.data.scenes import draw_scene, load_vocabulary
from structxlip.losses import CompositeLoss, Features
from structxlip.models.edge_encoder import EdgeEncoder

IMAGE_PX, BATCH, CHUNKS, DIM = 64, 32, 2, 64


@dataclass(frozen=True)
class Data:
    """Pairs of images and captions, and their structure."""

    images: Tensor  # [N, 3, S, S]
    captions: Tensor  # [N, L], tokens
    edges: Tensor  # + [N, 1, S, S]
    has_structure: Tensor  # + boolean [N]
    structures: Tensor  # + [N, L], tokens of the structural captions
    chunks: Tensor  # + [N, C, L], tokens of their chunks
    chunk_mask: Tensor  # + boolean [N, C]


def small_clip() -> open_clip.CLIP:
    """A CLIP model of 64 dimensions with random weights."""
    return open_clip.CLIP(
        DIM,
        {"image_size": IMAGE_PX, "patch_size": 16, "width": 96, "head_width": 32, "layers": 3},
        {"context_length": 64, "vocab_size": 49408, "width": 96, "heads": 3, "layers": 2},
    )


def drawings(number: int) -> Data:
    """Drawings with captions, and the structure that the losses need."""
    vocabulary = load_vocabulary(str(importlib.resources.files("structxlip.data") / "scenes.yaml"))
    scenes = [
        draw_scene(i, seed=0, image_px=IMAGE_PX, captions_per_image=1, vocabulary=vocabulary)
        for i in range(number)
    ]
    captions = [scene.captions[0] for scene in scenes]
    tokenize = open_clip.SimpleTokenizer(context_length=64)

    language, lexicon = load_language_model("en_core_web_sm"), load_lexicon(["general"])  # +
    structures = [structure_caption(doc, lexicon=lexicon) for doc in language.pipe(captions)]  # +
    edges = np.stack([canny(scene.image, size_px=IMAGE_PX) for scene in scenes])  # +
    chunks = torch.zeros(number, CHUNKS, 64, dtype=torch.long)  # +
    chunk_mask = torch.zeros(number, CHUNKS, dtype=torch.bool)  # +
    for i, structure in enumerate(structures):  # +
        words = [structure.text[c.start : c.end] for c in structure.chunks[:CHUNKS]]
        chunks[i, : len(words)] = tokenize(words)
        chunk_mask[i, : len(words)] = True

    pixels = torch.from_numpy(np.stack([scene.image for scene in scenes]))
    return Data(
        images=pixels.permute(0, 3, 1, 2).float() / 127.5 - 1,
        captions=tokenize(captions),
        edges=torch.from_numpy(edges)[:, None].float(),
        has_structure=torch.tensor([has_structure(map_) for map_ in edges]),
        structures=tokenize([structure.text for structure in structures]),
        chunks=chunks,
        chunk_mask=chunk_mask,
    )


def train(data: Data, steps: int) -> list[dict[str, float]]:
    """Train for some steps; returns the losses of each."""
    torch.manual_seed(0)
    clip = small_clip()
    edge_encoder = EdgeEncoder(DIM)  # +
    loss = CompositeLoss(DIM, edge_text=0.5, region_chunk=0.1, edge_image=0.05)  # +
    modules = torch.nn.ModuleList([clip, edge_encoder, loss])
    optimizer = torch.optim.AdamW(modules.parameters(), lr=5e-4)
    history, size = [], min(BATCH, len(data.images))
    for step in range(steps):
        rows = torch.arange(step * size, (step + 1) * size) % len(data.images)
        features = Features(
            image_features=clip.encode_image(data.images[rows]),
            text_features=clip.encode_text(data.captions[rows]),
            logit_scale=clip.logit_scale.exp(),
        )
        edge_features, patch_features = edge_encoder(data.edges[rows])  # +
        chunk_features = clip.encode_text(data.chunks[rows].flatten(0, 1))  # +
        features |= Features(  # +
            edge_features=edge_features,
            patch_features=patch_features,
            structure_features=clip.encode_text(data.structures[rows]),
            chunk_features=chunk_features.unflatten(0, (len(rows), CHUNKS)),
            chunk_mask=data.chunk_mask[rows],
            has_structure=data.has_structure[rows],
        )
        losses = loss(features)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in losses.items()})
    return history


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--smoke", action="store_true", help="5 steps on 16 drawings")
    options = parser.parse_args()
    steps, number = (5, 16) if options.smoke else (options.steps, 4 * BATCH)
    for step, losses in enumerate(train(drawings(number), steps), 1):
        if step == 1 or step % 5 == 0:
            print(f"step {step}: " + ", ".join(f"{k} {v:.3f}" for k, v in losses.items()))


if __name__ == "__main__":
    main()
