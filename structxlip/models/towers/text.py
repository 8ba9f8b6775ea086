"""Frozen text towers: from texts, and the chunks in them, to features."""

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

from structxlip.errors import UserError
from structxlip.features.store import RowSpec
from structxlip.models.towers.clip import (
    LoadedClip,
    encode_tokens,
    project_tokens,
)
from structxlip.models.towers.offsets import Span, character_offsets, token_counts
from structxlip.models.towers.precision import autocast

TEXT_BATCH = 32


class TextTower(nn.Module, ABC):
    """A frozen text encoder.

    Attributes:
        dim: size of its pooled and chunk features.
        tokenizer: from texts to tokens.
        limit: most tokens that it reads; longer texts are cut.
    """

    dim: int
    tokenizer: Any
    limit: int

    def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text before truncation."""
        return token_counts(self.tokenizer, texts)

    @property
    def row(self) -> RowSpec:
        """One row of features in a store."""
        return RowSpec("float32", (self.dim,))

    chunk_row = row

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> tuple[dict[str, Tensor], list[list[Span]]]:
        """The inputs of the network, and the characters of each token ((0, 0) for none)."""

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Pooled features ``[N, dim]``, and token features ``[N, L, width]`` before the last
        norm."""

    def pool(self, tokens: Tensor, inputs: dict[str, Tensor], weights: Tensor) -> Tensor:
        """Pooled features ``[N, dim]`` of tokens ``[N, L, width]`` with weights ``[N, L]``."""
        raise UserError(
            "captions.mode downweight needs a text tower that pools its tokens, such as "
            "packaged:all-minilm-l6-v2; this one reads a text off its last token; use drop or mask",
            2,
        )

    @abstractmethod
    def project(self, tokens: Tensor) -> Tensor:
        """Pooled tokens ``[M, width]`` through the last norm, once, and the projection:
        ``[M, dim]``."""

    @torch.inference_mode()
    def encode(
        self,
        texts: Sequence[str],
        spans: Sequence[Sequence[Span]] | None = None,
        weights: Sequence[Sequence[float]] | None = None,
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Pooled features of texts, and features of spans within them.

        Args:
            texts: ``N`` texts.
            spans: for each text, the characters [start, end) of its chunks. A chunk pools the
                tokens that overlap it, weighted by the softmax of their norms. A chunk beyond the
                last token that is read has a zero feature.
            weights: for each text, the weights of its words ``text.split()`` in the pooled
                feature. Only a tower that averages its tokens takes them (else ``UserError``).

        Returns:
            Features ``[N, dim]``, and for each text those of its spans, ``[C_i, dim]``.
        """
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        pooled = np.zeros((len(texts), self.dim), np.float32)
        chunks: list[NDArray[np.float32]] = [np.zeros((0, self.dim), np.float32)] * len(texts)
        for start in range(0, len(order), TEXT_BATCH):  # of similar length, for little padding
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
        features = self.project(pool_spans(tokens[: member.shape[1]], member)).float()
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
    """The weight of each token, that of its word, ``[length]``; 1 for a token outside of words."""
    starts = [word.start() for word in re.finditer(r"\S+", text)]
    found = torch.ones(length)
    for token, (start, end) in enumerate(offsets[:length]):
        if end > start:
            found[token] = weights[bisect.bisect_right(starts, start) - 1]
    return found


class SentenceTower(TextTower):
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

    def project(self, tokens: Tensor) -> Tensor:
        return tokens


class ClipTextTower(TextTower):
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

    def project(self, tokens: Tensor) -> Tensor:
        return project_tokens(self.clip, tokens)
