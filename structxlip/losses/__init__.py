"""Losses over plain tensors, one a file, for any CLIP-like model and training loop."""

from structxlip.losses.composite import CompositeLoss, Features, weight_schedule
from structxlip.losses.consistency import ProjectedL2ConsistencyLoss
from structxlip.losses.contrastive import ContrastiveLoss, multi_positive_nce
from structxlip.losses.region_chunk import RegionChunkAttentionLoss

__all__ = [
    "CompositeLoss",
    "ContrastiveLoss",
    "Features",
    "ProjectedL2ConsistencyLoss",
    "RegionChunkAttentionLoss",
    "multi_positive_nce",
    "weight_schedule",
]
