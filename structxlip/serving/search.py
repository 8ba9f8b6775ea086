"""Search a dataset: by words, by a picture, by a sketch, or by an image that is in it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from structxlip.errors import UserError
from structxlip.serving.image_index import INDEXES, Hit, ImageIndex, Late
from structxlip.serving.scoring import Query

if TYPE_CHECKING:
    from structxlip.serving.embedder import Embedder, Picture
    from structxlip.serving.reranker import Reranker


class Searcher:
    """An index and the model that made it.

    Args:
        dataset: its name; the index is ``indexes/<dataset>``.

    Raises ``UserError`` where there is no index.
    """

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.index = ImageIndex(INDEXES / dataset)

    @cached_property
    def embedder(self) -> Embedder:
        """The model; ``UserError`` when the index was made by another one."""
        from structxlip.serving.embedder import Embedder

        folder = Path(self.index.settings["model"])
        found = Embedder(folder, self.index.alpha)
        if not self.index.belongs_to(found.digest):
            raise UserError(
                f"{self.index.directory} was made by another model than {folder}; run "
                f"`dvc repro index@{self.dataset}`"
            )
        return found

    def query(
        self,
        *,
        text: str | None = None,
        image: Picture | None = None,
        like: str | None = None,
        sketch: Picture | None = None,
    ) -> Query:
        """The query for exactly one of: words, a picture, the id of an image, a sketch.

        Raises ``UserError`` for none or several, and what the ``Embedder`` raises.
        """
        given = {"text": text, "image": image, "id": like, "sketch": sketch}
        asked = [name for name, value in given.items() if value is not None]
        if len(asked) != 1:
            found = " and ".join(asked) or "none"
            raise UserError(f"give one of a text, an image, an id or a sketch, not {found}", 2)
        if text is not None:
            if not text.strip():
                raise UserError("the text to search for is empty", 2)
            return Query.of_one(self.embedder.embed_texts([text])[0])
        if sketch is not None:
            return Query.of_one(self.embedder.embed_edges([sketch])[0])
        if like is not None:
            return self.index.query(like)
        assert image is not None
        return Query(*self.embedder.embed_parts(image))

    def find(
        self,
        *,
        text: str | None = None,
        image: Picture | None = None,
        like: str | None = None,
        sketch: Picture | None = None,
        by: str | None = None,
        k: int = 10,
        alpha: float | None = None,
        split: str | None = None,
        beta: float | None = None,
    ) -> list[Hit]:
        """The best images for a query; see ``query`` and ``ImageIndex.search``.

        Without ``by`` a sketch is compared with the edges, and all else with both fused. The first
        answers to words are reranked with the weight ``beta``: None takes that of validation, 0
        leaves them as they are.
        """
        query = self.query(text=text, image=image, like=like, sketch=sketch)
        how = by or ("fused" if sketch is None else "structure")
        late, weight = self.reranking(text, how, beta)
        return self.index.search(
            query, by=how, k=k, alpha=alpha, split=split, without=like, late=late, beta=weight
        )

    def reranking(
        self, text: str | None, by: str, beta: float | None = None
    ) -> tuple[Late | None, float]:
        """The function that reranks the answers to a query, and its weight; None and 0 where
        nothing is reranked.

        Args:
            text: the words; None for another query, which is not reranked.
            by: what is compared; only `fused` is reranked.
            beta: the weight; None takes that of validation.

        Raises ``UserError`` for a weight where the index has no patches.
        """
        weight = self.index.beta if beta is None else beta
        if text is None or by != "fused" or not weight:
            return None, 0.0
        patches = self.index.patches
        if patches is None:
            raise UserError(
                f"{self.index.directory} has no patches to rerank by: validation chose no beta; "
                f"leave --beta out"
            )
        chunks = self.reranker.chunks(text)
        return lambda rows: self.reranker.late(chunks, patches[rows]), weight

    @cached_property
    def reranker(self) -> Reranker:
        """What computes the late interaction."""
        from structxlip.serving.reranker import Reranker

        return Reranker(self.embedder)
