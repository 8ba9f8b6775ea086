"""Embed a split with a packaged model, as a script in a process of its own.

    python -P score_package.py PACKAGE FOLDER

It imports nothing of structxlip: the code that runs is the package's own, whatever its release.
FOLDER holds ``images.parquet`` and ``texts.parquet``; the embeddings and the time of a query go
there.
"""

import json
import sys
import time
from pathlib import Path

QUERIES = 10  # single texts, of which the time is taken


def main() -> None:
    import mlflow
    import numpy as np
    import pandas as pd

    package, folder = sys.argv[1], Path(sys.argv[2])
    model = mlflow.pyfunc.load_model(package)
    images = pd.read_parquet(folder / "images.parquet").dropna(axis=1, how="all")
    texts = pd.read_parquet(folder / "texts.parquet")
    for name, rows in (("images", images), ("texts", texts)):
        found = model.predict(rows)["embedding"].tolist()
        np.save(folder / f"{name}.npy", np.array(found, np.float32))
    seconds = []
    for number in range(QUERIES):
        start = time.perf_counter()
        model.predict(texts.iloc[[number % len(texts)]])
        seconds.append(time.perf_counter() - start)
    told = {"latency_ms": 1000 * float(np.percentile(seconds, 95))}
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
