"""Bag shards: reading corpora, preparing, checking and streaming them.

Names are loaded on first use: `import tstdata` loads neither torch, streaming nor Composer.
"""

import importlib
from typing import Any

_HOMES = {
    "DatasetCard": "card",
    "PrepareReport": "preparation",
    "StreamingBagDataset": "dataset",
    "SuperpositionPlan": "plan",
    "VerifyReport": "verification",
    "build_bag_dataloader": "dataloader",
    "prepare": "preparation",
    "verify": "verification",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tstdata' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
