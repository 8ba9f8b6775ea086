"""Search a dataset: by words, by a picture, by a sketch, or by an image that is in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from structxlip.data.quarantine import BadImage
from structxlip.errors import UserError
from structxlip.serving.image_index import Asked, Hit, ImageIndex, Late
from structxlip.serving.index_files import INDEXES
from structxlip.serving.scoring import Query

if TYPE_CHECKING:
    from structxlip.serving.embedder import Embedder, Picture
    from structxlip.serving.reranker import Reranker

Refusal = UserError | BadImage


@dataclass(frozen=True)
class Question:
    """What a user asks: exactly one of ``text``, ``image``, ``like`` and ``sketch``, and how.

    Attributes:
        text: words.
        image: a picture.
        like: the id of an image of the index, which is no answer.
        sketch: a drawing of lines.
        by: what is compared: content, structure, or both fused. None: structure for a sketch, fused
            for all else.
        k: the most answers.
        alpha: weight of the edges in `fused`; None: that of the index.
        split: only images of this split.
        beta: weight of reranking the first answers to words by `fused`; None: that of validation; 0
            reranks nothing.
    """

    text: str | None = None
    image: Picture | None = None
    like: str | None = None
    sketch: Picture | None = None
    by: str | None = None
    k: int = 10
    alpha: float | None = None
    split: str | None = None
    beta: float | None = None

    def check(self) -> None:
        """Raise ``UserError`` unless exactly one thing is searched for."""
        given = {"text": self.text, "image": self.image, "id": self.like, "sketch": self.sketch}
        asked = [name for name, value in given.items() if value is not None]
        if len(asked) != 1:
            found = " and ".join(asked) or "none"
            raise UserError(f"give one of a text, an image, an id or a sketch, not {found}", 2)
        if self.text is not None and not self.text.strip():
            raise UserError("the text to search for is empty", 2)

    @property
    def compared(self) -> str:
        """What is compared; see ``by``."""
        return self.by or ("fused" if self.sketch is None else "structure")


class Searcher:
    """An index and the model that made it.

    Args:
        dataset: its name; the index is ``indexes/<dataset>``.
        champion: the folder of the champion in the registry, which is searched with. None: the
            model that made the index.

    Raises ``UserError`` where there is no index.
    """

    def __init__(self, dataset: str, champion: Path | None = None) -> None:
        self.dataset, self.champion = dataset, champion
        self.index = ImageIndex(INDEXES / dataset)

    @cached_property
    def embedder(self) -> Embedder:
        """The model; ``UserError`` when the index was made by another one."""
        from structxlip.serving.embedder import Embedder

        name, folder = self.index.settings["model"], self.champion
        command = f"dvc repro index@{self.dataset}"
        if folder is not None:
            name = f"structxlip-{self.dataset}@champion"
            command = f"structxlip index --dataset {self.dataset} --model {name}"
        found = Embedder(folder or Path(name), self.index.alpha)
        if not self.index.belongs_to(found.digest):
            raise UserError(
                f"{self.index.directory} was made by another model than {name}; run `{command}`"
            )
        return found

    @cached_property
    def reranker(self) -> Reranker:
        """What computes the late interaction."""
        from structxlip.serving.reranker import Reranker

        return Reranker(self.embedder)

    def prepare(self) -> None:
        """Load what would be loaded at the first question; ``UserError`` for an index that another
        model made."""
        self.find(text="what is loaded at the first question", k=1)

    def find(self, **question: Any) -> list[Hit]:
        """The best images, the best first.

        Args:
            question: the attributes of a ``Question``.

        Raises ``UserError`` for a question that cannot be answered, and ``BadImage`` for what is no
        usable picture.
        """
        (found,) = self.answer([Question(**question)])
        if isinstance(found, Exception):
            raise found
        return found

    def answer(self, questions: Sequence[Question]) -> list[list[Hit] | Refusal]:
        """The answers to several questions, as ``find`` gives them one by one; in the place of one
        that cannot be answered its error. The texts of all are embedded together."""
        found: list[list[Hit] | Refusal] = [[] for _ in questions]
        checked: dict[int, Question] = {}
        for place, question in enumerate(questions):
            try:
                question.check()
                checked[place] = question
            except UserError as error:
                found[place] = error
        embedded = self._embedded(checked.values())
        chunks = self._chunks(checked.values())
        asked: dict[int, Asked] = {}
        for place, question in checked.items():
            try:
                one = self._asked(question, embedded, chunks)
                self.index.check(one)
                asked[place] = one
            except (UserError, BadImage) as error:
                found[place] = error
        for place, hits in zip(asked, self.index.search_all(list(asked.values())), strict=True):
            found[place] = hits
        return found

    def _embedded(self, questions: Iterable[Question]) -> dict[str, NDArray[np.float32]]:
        """The embeddings ``[D]`` of all texts."""
        texts = list({one.text for one in questions if one.text is not None})
        return dict(zip(texts, self.embedder.embed_texts(texts), strict=True)) if texts else {}

    def _chunks(self, questions: Iterable[Question]) -> dict[str, NDArray[np.float32]]:
        """The features ``[C, D]`` of the chunks of all texts whose answers are reranked."""
        if self.index.patches is None:
            return {}
        texts = list({str(one.text) for one in questions if self._beta(one)})
        return dict(zip(texts, self.reranker.chunks_of(texts), strict=True)) if texts else {}

    def _beta(self, question: Question) -> float:
        """The weight with which the answers to a question are reranked."""
        if question.text is None or question.compared != "fused":
            return 0.0
        return self.index.beta if question.beta is None else question.beta

    def _asked(
        self,
        question: Question,
        embedded: Mapping[str, NDArray[np.float32]],
        chunks: Mapping[str, NDArray[np.float32]],
    ) -> Asked:
        """The search of the index that answers a question."""
        beta = self._beta(question)
        return Asked(
            query=self._query(question, embedded),
            by=question.compared,
            k=question.k,
            alpha=question.alpha,
            split=question.split,
            without=question.like,
            late=self._late(chunks, str(question.text)) if beta else None,
            beta=beta,
        )

    def _query(self, question: Question, embedded: Mapping[str, NDArray[np.float32]]) -> Query:
        if question.text is not None:
            return Query.of_one(embedded[question.text])
        if question.sketch is not None:
            return Query.of_one(self.embedder.embed_edges([question.sketch])[0])
        if question.like is not None:
            return self.index.query(question.like)
        assert question.image is not None
        return Query(*self.embedder.embed_parts(question.image))

    def _late(self, chunks: Mapping[str, NDArray[np.float32]], text: str) -> Late:
        """The late interaction of a text with rows; ``UserError`` where the index has no
        patches."""
        patches = self.index.patches
        if patches is None:
            raise UserError(
                f"{self.index.directory} has no patches to rerank by: validation chose no beta; "
                f"leave --beta out"
            )
        return lambda rows: self.reranker.late(chunks[text], patches[rows])
