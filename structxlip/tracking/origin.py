"""What a model comes from: the commit, the parameters and the pairs."""

from __future__ import annotations

import hashlib
import json

from structxlip.config import Params
from structxlip.reports.provenance import commit_of
from structxlip.tracking.champion import trained_on
from structxlip.tracking.connection import logged_params
from structxlip.tracking.split import Seen


def origin(params: Params, dataset: str, seen: Seen | None = None) -> dict[str, str]:
    """The tags of a version that say what it comes from.

    Args:
        params: of the run.
        dataset: its name.
        seen: what it was trained on; None reads it.
    """
    seen = seen or trained_on(dataset)
    logged = json.dumps(logged_params(params, dataset), sort_keys=True, default=str)
    return {
        "pairs": seen.digest(),
        "images_seen": str(len(seen.images)),
        "commit": commit_of(digits=40, changed="-dirty"),
        "params": hashlib.blake2b(logged.encode(), digest_size=16).hexdigest(),
    }
