"""Losses over plain tensors, one a file, for any CLIP-like model and training loop."""

from structxlip.losses.checks import NotFinite
from structxlip.losses.composite import CompositeLoss
from structxlip.losses.contrastive import ContrastiveLoss
from structxlip.losses.cosine import CosineConsistencyLoss
from structxlip.losses.features import Features
from structxlip.losses.projected_l2 import ProjectedL2ConsistencyLoss
from structxlip.losses.region_chunk import RegionChunkLoss
from structxlip.losses.region_chunk_attention import RegionChunkAttentionLoss
from structxlip.losses.schedule import weight_schedule
from structxlip.losses.sigmoid import SigmoidContrastiveLoss

__all__ = [
    "CompositeLoss",
    "ContrastiveLoss",
    "CosineConsistencyLoss",
    "Features",
    "NotFinite",
    "ProjectedL2ConsistencyLoss",
    "RegionChunkAttentionLoss",
    "RegionChunkLoss",
    "SigmoidContrastiveLoss",
    "weight_schedule",
]
