"""The named features that a model hands to the losses."""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor


class Features(TypedDict, total=False):
    """Features of ``N`` pairs; the structural ones may be absent.

    ``D`` is the size of the joint space, ``C`` the chunks of a caption, ``P`` the patches and ``K``
    the regions of an edge map. No feature needs to be normalised.
    """

    image_features: Tensor  # [N, D]
    text_features: Tensor  # [N, D]
    logit_scale: Tensor  # the multiplier itself, not its logarithm
    group_ids: Tensor  # integer [N]; pairs with equal ids are positives of each other
    edge_features: Tensor  # [N, D]
    structure_features: Tensor  # [N, D], of the structural captions
    has_structure: Tensor  # boolean [N]
    chunk_features: Tensor  # [N, C, D]
    chunk_mask: Tensor  # boolean [N, C]
    patch_features: Tensor  # [N, P, D], of an edge CNN
    region_features: Tensor  # [N, K, D], of crops of edge maps
    region_mask: Tensor  # boolean [N, K]
