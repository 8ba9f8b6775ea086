"""The recipe `paper`, written straight from its formulas, as a reference for speed and memory.

Each sample reads its image, its edge map and every crop from the files on its own, and reads the
image and the edge map a second time for nothing. Texts are padded to the full length. The losses
are loops over samples.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import Dataset
from torchvision import transforms

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
MAX_SCALE = 100.0


@dataclass
class Sample:
    """One pair as the model reads it; chunks are tokens [first, last) of its structural caption."""

    image: Tensor  # [3, S, S]
    edges: Tensor  # [3, S, S]
    crops: list[Tensor]  # of edge regions, [3, S, S]
    caption: Tensor  # [L]
    structure: Tensor  # [L]
    chunks: list[tuple[int, int]]
    has_structure: bool
    group: int


class Samples(Dataset[Sample]):
    """Pairs that a JSON list describes, with files of images and edge maps beside it."""

    def __init__(self, file: Path, size_px: int, length: int) -> None:
        import open_clip

        self.folder, self.rows = file.parent, json.loads(file.read_text())
        self.tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=length)
        self.preprocess = transforms.Compose(
            [
                transforms.Resize((size_px, size_px), transforms.InterpolationMode.BICUBIC),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row = self.rows[index]
        for unused in ("image", "edges"):
            self._view(row[unused])
        return Sample(
            image=self._view(row["image"]),
            edges=self._view(row["edges"]),
            crops=[self._view(row["edges"], box) for box in row["regions"]],
            caption=self.tokenizer([row["caption"]])[0],
            structure=self.tokenizer([row["structure"]])[0],
            chunks=self._spans(row["structure"], row["chunks"]),
            has_structure=row["has_structure"],
            group=row["group"],
        )

    def _view(self, name: str, box: tuple[int, int, int, int] | None = None) -> Tensor:
        picture = Image.open(self.folder / name).convert("RGB")
        if box is not None:
            x, y, w, h = box
            picture = picture.crop((x, y, x + w, y + h))
        view: Tensor = self.preprocess(picture)
        return view

    def _spans(self, text: str, chunks: list[tuple[int, int]]) -> list[tuple[int, int]]:
        end = self.tokenizer.context_length - 1
        spans = []
        for start, stop in chunks:
            first = 1 + len(self.tokenizer.encode(text[:start]))
            last = min(first + len(self.tokenizer.encode(text[start:stop])), end)
            if first < last:
                spans.append((first, last))
        return spans


@dataclass
class Views:
    """The embeddings of a batch of samples, ``[N, D]``; chunks and regions sample by sample."""

    images: Tensor
    texts: Tensor
    edges: Tensor
    structures: Tensor
    chunks: list[Tensor]  # [C_i, D]
    regions: list[Tensor]  # [K_i, D]
    scale: Tensor
    has_structure: list[bool]
    groups: Tensor


def encode(model: Any, samples: list[Sample]) -> Views:
    """Encode each view of a batch on its own, by the towers of a ``transformers.CLIPModel``."""
    images = _image_features(model, torch.stack([sample.image for sample in samples]))
    edges = _image_features(model, torch.stack([sample.edges for sample in samples]))
    texts = model.get_text_features(torch.stack([s.caption for s in samples])).pooler_output
    read = model.get_text_features(
        torch.stack([sample.structure for sample in samples]), output_hidden_states=True
    )
    tokens = read.hidden_states[-1]  # before the last norm
    chunks, regions = [], []
    for i, sample in enumerate(samples):
        crops = sample.crops if sample.has_structure else []
        regions.append(
            _image_features(model, torch.stack(crops)) if crops else images.new_zeros(0, 1)
        )
        pooled = []
        for first, last in sample.chunks:
            span = tokens[i, first:last]
            pooled.append(span.detach().norm(dim=-1).softmax(dim=0).to(span.dtype) @ span)
        if pooled:
            finished = model.text_model.final_layer_norm(torch.stack(pooled))
            chunks.append(model.text_projection(finished))
        else:
            chunks.append(images.new_zeros(0, 1))
    return Views(
        images=images.float(),
        texts=texts.float(),
        edges=edges.float(),
        structures=read.pooler_output.float(),
        chunks=[chunk.float() for chunk in chunks],
        regions=[region.float() for region in regions],
        scale=model.logit_scale.exp(),
        has_structure=[sample.has_structure for sample in samples],
        groups=torch.tensor([sample.group for sample in samples]),
    )


def _image_features(model: Any, pixels: Tensor) -> Tensor:
    features: Tensor = model.get_image_features(pixels).pooler_output
    return features


def losses(views: Views, temperature: float = 1.0) -> dict[str, Tensor]:
    """The four losses by their formulas."""
    valid = [i for i, usable in enumerate(views.has_structure) if usable]
    groups = views.groups
    edges, structures = views.edges[valid], views.structures[valid]
    return {
        "clip_loss": info_nce(views.images, views.texts, views.scale, groups),
        "edge_text_loss": info_nce(edges, structures, views.scale.detach(), groups[valid]),
        "region_chunk_loss": region_chunk(views, temperature),
        "edge_image_loss": consistency(views.images[valid], edges),
    }


def info_nce(first: Tensor, second: Tensor, scale: Tensor, groups: Tensor) -> Tensor:
    logits = scale * normalize(first, dim=-1) @ normalize(second, dim=-1).T
    costs = [
        row.logsumexp(0) - row[groups == groups[i]].logsumexp(0)
        for scores in (logits, logits.T)
        for i, row in enumerate(scores)
    ]
    return torch.stack(costs).mean()


def region_chunk(views: Views, temperature: float) -> Tensor:
    scale = (views.scale.detach() / temperature).clamp(max=MAX_SCALE)
    owners = [i for i, regions in enumerate(views.regions) for _ in regions]
    keys = torch.cat([regions for regions in views.regions if len(regions)])
    costs = []
    for chunks, regions, group in zip(views.chunks, views.regions, views.groups, strict=True):
        if not len(chunks) or not len(regions):
            continue
        logits = scale * normalize(chunks, dim=-1) @ normalize(keys, dim=-1).T
        right = logits[:, views.groups[owners] == group]
        costs.append((logits.logsumexp(1) - right.logsumexp(1)).mean())
    return torch.stack(costs).mean()


def consistency(images: Tensor, edges: Tensor) -> Tensor:
    return (1 - (normalize(images, dim=-1) * normalize(edges, dim=-1)).sum(dim=-1)).mean()


class StraightTraining:
    """Plain training of all of a CLIP model by AdamW, with half a cosine as its schedule.

    Args:
        model: a ``transformers.CLIPModel``.
        weights: of the losses, by their names.
        learning_rate: at the start.
        weight_decay: of all parameters.
        steps: of the whole training, for the schedule.
        bf16: encode in bfloat16.
    """

    def __init__(
        self,
        model: nn.Module,
        weights: dict[str, float],
        *,
        learning_rate: float,
        weight_decay: float,
        steps: int,
        bf16: bool,
    ) -> None:
        self.model: Any = model.train()
        self.weights, self.bf16, self.steps = weights, bf16, steps
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=learning_rate, weight_decay=weight_decay
        )
        self.learning_rate = learning_rate

    def step(self, samples: list[Sample], number: int) -> dict[str, float]:
        """Train on a batch; returns the losses."""
        for group in self.optimizer.param_groups:
            done = number / self.steps
            group["lr"] = self.learning_rate * (1 + math.cos(math.pi * done)) / 2
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            views = encode(self.model, samples)
        terms = losses(views)
        loss = torch.stack([weight * terms[name] for name, weight in self.weights.items()]).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=math.log(100))
        return {name: float(term.detach()) for name, term in terms.items()}


def random_clip(config: dict[str, Any], length: int) -> Any:
    """A ``CLIPModel`` with random weights for texts of ``length`` tokens, of the size that a
    configuration of open_clip gives."""
    from transformers import CLIPConfig, CLIPModel

    vision, text = config["vision_cfg"], config["text_cfg"]
    return CLIPModel(
        CLIPConfig(
            vision_config={
                "hidden_size": vision["width"],
                "intermediate_size": 4 * vision["width"],
                "num_hidden_layers": vision["layers"],
                "num_attention_heads": vision["width"] // vision.get("head_width", 64),
                "patch_size": vision["patch_size"],
                "image_size": vision["image_size"],
            },
            text_config={
                "hidden_size": text["width"],
                "intermediate_size": 4 * text["width"],
                "num_hidden_layers": text["layers"],
                "num_attention_heads": text["heads"],
                "vocab_size": text["vocab_size"],
                "max_position_embeddings": length,
                "bos_token_id": 49406,
                "eos_token_id": 49407,
            },
            projection_dim=config["embed_dim"],
        )
    )
