"""Follow the champion of the registry and the index of a dataset while they are served."""

from __future__ import annotations

from structxlip.serving.index_files import INDEXES, SETTINGS
from structxlip.serving.loading import champion_version, find_model
from structxlip.serving.search import Searcher


class Follower:
    """Notices that a dataset has another champion, or another index.

    What is searched with is the champion in the registry, or, where there is none, the model that
    made the index.

    Args:
        dataset: its name.
    """

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.seen: tuple[str | None, tuple[int, int] | None] | None = None

    def look(self) -> Searcher | None:
        """The model with its index, loaded whole; None where nothing has changed since the last
        look, or an index is just being written.

        Raises ``UserError`` where there is no index, or another model than the champion made it;
        the next look is silent about the same.
        """
        version = champion_version(self.dataset)
        now = (version, self._stamp())
        if now == self.seen or (self.seen is not None and now[1] is None):
            return None
        self.seen = now
        name = f"models:/structxlip-{self.dataset}/{version}"
        found = Searcher(self.dataset, None if version is None else find_model(name)[0])
        found.prepare()
        if self._stamp() != now[1]:  # it has read files of two indexes
            self.seen = (version, None)
            return None
        return found

    def _stamp(self) -> tuple[int, int] | None:
        """What tells an index from the next one; None where there is none."""
        try:
            status = (INDEXES / self.dataset / SETTINGS).stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns


def first_look(dataset: str) -> tuple[Searcher, Follower]:
    """What is served at first, and who follows it. Raises ``UserError`` as ``Follower.look``."""
    follower = Follower(dataset)
    while (found := follower.look()) is None:
        pass
    return found, follower
