"""Promotion: which version is the champion, and what a version is scored by."""

from __future__ import annotations

from typing import Any

import numpy as np

from structxlip.evaluation.retrieval import retrieval_metrics
from structxlip.evaluation.statistics import mean_recall
from structxlip.tracking.split import TestSplit

ALIAS = "champion"


def promote(
    mlflow: Any, client: Any, name: str, version: str, score: float, test: TestSplit
) -> tuple[str, str]:
    """Make a version the champion when there is none, or when its mean R@1 is higher.

    A champion of another test split is scored again on this one.

    Returns:
        The alias (empty when the champion stays), and the reason in words.
    """
    champion = client.get_registered_model(name).aliases.get(ALIAS)
    reason = "the first version"
    if champion is not None:
        tags = client.get_model_version(name, champion).tags
        if tags.get("test_split") == test.digest:
            best = float(tags["score"])
        else:
            best = score_model(mlflow.pyfunc.load_model(f"models:/{name}@{ALIAS}"), test)
        reason = f"R@1 {score:.1f} % against {best:.1f} % of version {champion}"
        if score <= best:
            return "", reason
    client.set_registered_model_alias(name, ALIAS, version)
    return ALIAS, reason


def score_model(model: Any, test: TestSplit) -> float:
    """Mean R@1 of both ways, in percent, of a loaded pyfunc model on bytes and texts."""
    import pandas as pd

    rows = pd.DataFrame({"image": test.images, "edges": test.edges}).dropna(axis=1, how="all")
    images = model.predict(rows)["embedding"]
    texts = model.predict(pd.DataFrame({"text": test.texts}))["embedding"]
    embeddings = np.array(images.tolist()), np.array(texts.tolist())
    found = retrieval_metrics(*embeddings, test.text_to_image, ks=(1,), groups=test.groups)
    return mean_recall(found)
