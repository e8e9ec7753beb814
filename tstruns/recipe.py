"""Recipes: YAML files that lie on one another. `extends: NAME` in a file means "that one, and then this".

`recipe:NAME` is a file of this package's `recipes/`; any other YAML may extend one, or a file beside it:

    # my-run.yaml
    extends: 270m-20k-tst            # or [a, b]: later ones win; or other.yaml, relative to this file
    train_loader: {dataset: {local: data/dclm}}
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .problems import nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["PREFIX", "load_layers", "recipe_file", "recipe_names"]

FOLDER = Path(__file__).parent / "recipes"
PREFIX = "recipe:"


def recipe_names() -> list[str]:
    """Return the names of the package's recipes."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def recipe_file(name: str) -> Path:
    """Return the file of a recipe's name, given with or without `recipe:`."""
    name = name.removeprefix(PREFIX)
    if name not in recipe_names():
        advice, known = nearest(name, recipe_names()), ", ".join(recipe_names())
        rest = "" if known in advice else f" All: {known}."
        raise ValueError(f"no recipe named {name!r}; {advice}{rest}")
    return FOLDER / f"{name}.yaml"


def load_layers(source: str | os.PathLike[str]) -> "DictConfig":
    """Return a YAML file, or `recipe:NAME`, merged onto all it extends; interpolations are left as they are.

    Raises:
        FileNotFoundError: a file that is named is not there.
        ValueError: an unknown recipe, a file that is no mapping, or a circle of files.
    """
    return _load(recipe_file(str(source)) if str(source).startswith(PREFIX) else Path(source), ())


def _load(path: Path, inside: tuple[Path, ...]) -> "DictConfig":
    from omegaconf import DictConfig, OmegaConf

    path = path.resolve()
    if path in inside:
        circle = " -> ".join(file.name for file in (*inside, path))
        raise ValueError(f"{inside[0]} extends itself: {circle}. Take one `extends` out.")
    if not path.is_file():
        by = f", which {inside[-1]} extends," if inside else ""
        raise FileNotFoundError(
            f"{path}{by} is no file; give a YAML file or recipe:NAME ({', '.join(recipe_names())})."
        )
    layer = OmegaConf.load(path)
    if not isinstance(layer, DictConfig):
        raise ValueError(
            f"{path} is no mapping; a run's YAML is key: value lines, such as max_duration: 1000ba"
        )
    bases = layer.pop("extends", [])
    merged = OmegaConf.create({})
    for base in [bases] if isinstance(bases, str) else bases:
        beside = path.parent / base
        file = beside if str(base).endswith((".yaml", ".yml")) else recipe_file(str(base))
        merged = OmegaConf.merge(merged, _load(file, (*inside, path)))
    merged = OmegaConf.merge(merged, layer)
    assert isinstance(merged, DictConfig)
    return merged
