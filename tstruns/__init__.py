"""Runs: what `tst train` and `tst demo` are made of; neither data nor algorithm.

A run is one YAML file and one directory:

- `read_config` turns the YAML and its `key=value` overrides into a checked `RunConfig` (`config.py`);
- `train` runs it with a Composer Trainer, or goes on where a killed run stopped (`training.py`);
- `RunDirectory` is the layout of what it leaves behind (`run_directory.py`), for whoever compares runs.

Importing this package, reading a config and reading a run directory load neither torch nor Composer.
"""

from .config import RunConfig
from .read_config import read_config
from .run_directory import RunDirectory
from .training import train

__all__ = ["RunConfig", "RunDirectory", "read_config", "train"]
