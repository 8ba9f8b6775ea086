"""Views: the inputs of the second branch. `edges` is the method; all others are controls and
ablations of it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from structxlip.features.edge_features import EdgeFeatures
from structxlip.features.edge_maps import EdgeMaps
from structxlip.features.store import FeatureStore

ViewName = Literal["edges", "whole_captions", "other_edges", "grey", "image"]


class View(Protocol):
    """The inputs of the second branch, one for each pair of a feature store.

    Attributes:
        has_structure: ``bool [N]``, whether the input of a pair enters the losses.
        plain_captions: whether the branch is trained with whole captions instead of structural
            ones.
        channels: of a map.
    """

    has_structure: NDArray[np.bool_]
    plain_captions: bool
    channels: int

    def maps(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The inputs of some pairs: maps ``[n, channels, S, S]`` in [0, 1], or features of a frozen
        tower, ``[n, P, Di]`` of patches or ``[n, Di]``."""

    def crops(
        self, rows: NDArray[np.int64], maps: NDArray[np.float32], most: int, side_px: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The regions of some maps; see ``EdgeMaps.crops``."""


class WholeCaptions:
    """A view that is trained with captions that no filter has touched.

    Of edge maps it is the ablation `whole_captions`.

    Args:
        edges: the edge maps.
    """

    plain_captions = True

    def __init__(self, edges: View) -> None:
        self.has_structure: NDArray[np.bool_] = edges.has_structure
        self.channels = edges.channels
        self.maps, self.crops = edges.maps, edges.crops


class OtherEdges:
    """The control `other_edges`: each image gets the edge map of another image of its split.

    A branch that gains with these maps does not gain by the structure of the image.

    Args:
        edges: the edge maps.
        splits: the split of each pair, ``[N]``.
        seed: of the exchange.
    """

    plain_captions = False

    def __init__(self, edges: View, splits: NDArray[np.str_], seed: int) -> None:
        self.edges, self.channels = edges, edges.channels
        self.other = self.exchange(splits, seed)
        self.has_structure: NDArray[np.bool_] = edges.has_structure[self.other]

    @staticmethod
    def exchange(splits: NDArray[np.str_], seed: int) -> NDArray[np.int64]:
        """The pair whose edge map each pair gets, ``[N]``."""
        other = np.arange(len(splits))
        rng = np.random.default_rng(seed)
        for split in np.unique(splits):
            rows = rng.permutation(np.flatnonzero(splits == split))
            other[rows] = np.roll(rows, 1)  # one circle: nobody keeps its own
        return other

    def maps(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.edges.maps(self.other[rows])

    def crops(
        self, rows: NDArray[np.int64], maps: NDArray[np.float32], most: int, side_px: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return self.edges.crops(self.other[rows], maps, most, side_px)


class GreyPictures:
    """The control `grey`: the picture itself, grey and blurred, at the size of an edge map.

    A branch that gains as much with it gains by reading the picture once more, not by its edges.

    Args:
        file: the pictures, ``uint8 [N, S, S]``, as ``write_grey_pictures`` writes them.
        edges: the edge maps, for their regions.
    """

    plain_captions = False
    channels = 1

    def __init__(self, file: Path, edges: EdgeMaps) -> None:
        self.pictures = np.load(file, mmap_mode="r")
        self.edges = edges
        self.has_structure: NDArray[np.bool_] = np.ones(len(self.pictures), np.bool_)

    def maps(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.pictures[rows][:, None].astype(np.float32) / 255

    def crops(
        self, rows: NDArray[np.int64], maps: NDArray[np.float32], most: int, side_px: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return self.edges.crops(rows, maps, most, side_px)


class ImageFeatures:
    """The control `image`: a second head on the very features that the first head reads.

    A branch that gains as much with it gains by averaging two heads. It sees no structure, neither
    of the image nor of the caption.

    Args:
        store: the feature store, of frozen towers.
    """

    plain_captions = True
    channels = 1

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.has_structure: NDArray[np.bool_] = np.ones(len(store.ids), np.bool_)

    def maps(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = self.store.image[rows]
        return features

    def crops(
        self, rows: NDArray[np.int64], maps: NDArray[np.float32], most: int, side_px: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        raise ValueError("features of a whole image have no regions")


def open_view(
    name: ViewName,
    store: FeatureStore,
    *,
    edges: Path,
    edge_features: Path | None,
    pictures: Path | None = None,
    seed: int = 0,
) -> View:
    """The view with a name.

    Args:
        name: of the view.
        store: the feature store whose pairs it belongs to.
        edges: the folder of the edge maps.
        edge_features: the folder of what a frozen image tower makes of them; None for a branch that
            reads the maps themselves.
        pictures: what the views `grey` and `image` read: the folder of what the tower makes of the
            pictures; without a tower `grey` reads the file of the grey pictures, and `image` the
            feature store.
        seed: of the view `other_edges`.

    Raises ``UserError`` for artifacts of other pairs.
    """
    if name == "image" and edge_features is None:
        return ImageFeatures(store)
    maps = EdgeMaps(edges, store.ids)
    if name in ("grey", "image"):
        assert pictures is not None, f"the view {name} needs its pictures"
        if edge_features is None:
            return GreyPictures(pictures, maps)
        found = EdgeFeatures(pictures, store.ids, np.ones_like(maps.has_structure))
        return WholeCaptions(found) if name == "image" else found
    view: View = maps
    if edge_features is not None:
        view = EdgeFeatures(edge_features, store.ids, maps.has_structure)
    if name == "whole_captions":
        return WholeCaptions(view)
    return OtherEdges(view, store.splits, seed) if name == "other_edges" else view
