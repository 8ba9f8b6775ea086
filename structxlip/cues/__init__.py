"""Structural cues of an image: edge maps by the name of a cue, their quality, and their storage."""

from structxlip.cues.detectors import (
    LEARNED,
    ConfiguredCue,
    Detector,
    built_in_cues,
    check_reads,
    find_detector,
)
from structxlip.cues.detectors.canny import canny
from structxlip.cues.detectors.learned import LearnedDetector
from structxlip.cues.png import (
    GIVEN,
    EdgeMap,
    branch_input,
    decode_edges,
    drawing,
    encode_edges,
    given_edges,
)
from structxlip.cues.quality import (
    edge_density,
    has_structure,
    unevenness,
    usable_map,
    usable_or_blank,
)
from structxlip.cues.regions import Region, edge_regions

__all__ = [
    "GIVEN",
    "LEARNED",
    "ConfiguredCue",
    "Detector",
    "EdgeMap",
    "LearnedDetector",
    "Region",
    "branch_input",
    "built_in_cues",
    "canny",
    "check_reads",
    "decode_edges",
    "drawing",
    "edge_density",
    "edge_regions",
    "encode_edges",
    "find_detector",
    "given_edges",
    "has_structure",
    "unevenness",
    "usable_map",
    "usable_or_blank",
]
