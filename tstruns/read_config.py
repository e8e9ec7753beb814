"""Reads a run's YAML with its `key=value` overrides, and reports everything wrong with it at once."""

import os
from typing import Any

from pydantic import ValidationError

from .config import RunConfig
from .contradictions import contradictions
from .model_keys import model_problems
from .problems import problems_of
from .recipe import load_layers

# Sections of several kinds: an override that takes another kind can take away the first one's keys.
KINDS = ("optimizer", "scheduler")


def read_config(
    path: str | os.PathLike[str], overrides: list[str] | tuple[str, ...] = (), num_ranks: int | None = None
) -> RunConfig:
    """Returns the checked config of a YAML file, before any heavy import or work.

    Args:
        path: The YAML file, or `recipe:NAME`; `extends` in it lays it over another (`recipe.py`). `${key}`
            interpolates; `variables` is free for the file's own values.
        overrides: `key=value` strings that win over the file, such as `optimizer.lr=3e-4`; null switches a
            section off, and takes a key of `optimizer` or `scheduler` away.
        num_ranks: Ranks that will run it; None takes the launcher's WORLD_SIZE.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no YAML mapping, or anything in it is unknown, mistyped or contradictory; the
            message holds one line for each.
    """
    values = _load(path, overrides)
    problems = []
    config = None
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as failed:
        problems = problems_of(RunConfig, failed)
    model = values.get("model")
    if isinstance(model, dict) and isinstance(model.get("config"), dict):
        problems += model_problems(model["config"])
    if config is not None:
        ranks = num_ranks or int(os.environ.get("WORLD_SIZE") or 1)
        problems += contradictions(config, ranks)
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ValueError("\n  ".join([f"{path} has {count}; nothing was started", *problems]))
    assert config is not None
    return config


def _load(path: str | os.PathLike[str], overrides: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """Returns the file's values merged with the overrides, every interpolation resolved."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for override in overrides:
        if not override.partition("=")[1] or not override.partition("=")[0].strip():
            raise ValueError(f"found {override!r}; an override is key=value, such as optimizer.lr=3e-4")
    try:
        merged = OmegaConf.merge(load_layers(path), OmegaConf.from_dotlist(list(overrides)))
        values = OmegaConf.to_container(merged, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    assert isinstance(values, dict)
    return {str(key): _without_nulls(value) if key in KINDS else value for key, value in values.items()}


def _without_nulls(section: Any) -> Any:
    if not isinstance(section, dict):
        return section
    return {key: value for key, value in section.items() if value is not None}
