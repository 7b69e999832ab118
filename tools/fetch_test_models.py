"""Puts the models that the tests run into the store of weights, unless they are there already.

The store is `MAINSTAY_MODELS`, or `~/.cache/mainstay/models`; a second run needs no network.
"""

import os
import sys

from mainstay.cli.pull_progress import pull_progress
from mainstay.kit.errors import MainstayError
from mainstay.platform.catalog import Catalog, Store
from mainstay.platform.catalog.pull import pull
from mainstay.platform.catalog.store import default_models_directory

MODELS = ("smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "all-minilm-l6-v2")


def fetch_all() -> None:
    """Pull what is missing and print what is there."""
    catalog, store = Catalog.load(), Store(default_models_directory(os.environ))
    for model_id in MODELS:
        weights = catalog.get(model_id)
        word = "found" if store.path(weights) else "installed"
        with pull_progress(model_id, as_json=False) as progress:
            path = pull(weights, store, progress)
        sys.stdout.write(f"Model {model_id} {word}: {path}\n")


if __name__ == "__main__":
    try:
        fetch_all()
    except MainstayError as error:
        sys.exit(f"fetch_test_models: {error.message}")
