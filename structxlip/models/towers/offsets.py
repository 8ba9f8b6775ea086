"""Map each token of an open_clip tokenizer to its characters in the text."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from structxlip.errors import UserError

Span = tuple[int, int]  # start and end of some characters of a text; the end is exclusive


def character_offsets(tokenizer: Any, text: str) -> list[Span]:
    """The characters of ``text`` that each token covers.

    CLIP's byte-pair encoding keeps no offsets, so each token of a word covers the whole word.
    Tokenizers of ``transformers`` (WordPiece, SentencePiece) give the offsets of each token. Both
    refer to the text that the tokenizer has cleaned (lower case, entities, punctuation, spaces);
    the spans here refer to ``text`` itself.

    Args:
        tokenizer: a tokenizer of open_clip.
        text: one text.

    Returns:
        A span for each token, at most ``context_length`` of them; (0, 0) for a token without
        characters, such as the start of the text.

    Raises:
        UserError: a tokenizer of ``transformers`` that is not a fast one.
    """
    clean = tokenizer.clean_fn(text)
    if hasattr(tokenizer, "byte_encoder"):
        spans = [(0, 0), *_byte_pair_spans(tokenizer, clean)][: tokenizer.context_length - 1]
    else:
        hf_tokenizer = tokenizer.tokenizer
        if not hf_tokenizer.is_fast:
            raise UserError(
                f"{type(hf_tokenizer).__name__} does not say which characters its tokens stand for;"
                f" choose a text tower with a fast tokenizer of transformers"
            )
        encoded = hf_tokenizer(
            clean,
            max_length=tokenizer.context_length,
            truncation=True,
            return_offsets_mapping=True,
        )
        # A SentencePiece token may hold the space before its word.
        spans = [_without_spaces(clean, start, end) for start, end in encoded["offset_mapping"]]
    origin = _origins(clean, text)
    return [(origin[start], origin[end - 1] + 1) if end > start else (0, 0) for start, end in spans]


def token_counts(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """The number of tokens of each text, with start and end tokens, before any truncation."""
    if hasattr(tokenizer, "byte_encoder"):
        return [len(tokenizer.encode(text)) + 2 for text in texts]
    hf_tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    return [len(ids) for ids in hf_tokenizer(list(texts), verbose=False)["input_ids"]]


def _byte_pair_spans(tokenizer: Any, text: str) -> list[Span]:
    """For each token of CLIP's byte-pair encoding, the span of its word."""
    spans = []
    for word in tokenizer.pat.finditer(text):
        symbols = "".join(tokenizer.byte_encoder[byte] for byte in word[0].encode())
        spans += [word.span()] * len(tokenizer.bpe(symbols).split(" "))
    return spans


def _without_spaces(text: str, start: int, end: int) -> Span:
    """The span ``[start, end)`` of a text, without the spaces at its ends."""
    token = text[start:end]
    return start + len(token) - len(token.lstrip()), start + len(token.rstrip())


def _origins(clean: str, text: str) -> list[int]:
    """For each character of ``clean``, its position in ``text``, in rising order."""
    lowered = text.lower()
    if len(lowered) != len(text):  # a few letters become two in lower case
        lowered = text
    if clean.lower() == lowered:
        return list(range(len(text)))
    origins = [-1] * len(clean)
    for block in SequenceMatcher(
        None, lowered, clean.lower(), autojunk=False
    ).get_matching_blocks():
        for i in range(block.size):
            if block.b + i < len(clean):
                origins[block.b + i] = block.a + i
    last = 0
    for i, origin in enumerate(origins):  # a character without a match takes the last position
        last = origins[i] = last if origin < 0 else origin
    return origins
