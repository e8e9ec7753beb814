"""What `--model` names: a recipe, a run's YAML or a Hugging Face config.json; and the settings in it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .recipe import PREFIX, load_layers, recipe_names

__all__ = ["PlanModel", "plan_model"]


@dataclass(frozen=True)
class PlanModel:
    """A model config, and what else its file says of a run; None where it says nothing.

    ``is_run``: the file is a run's YAML, whose model config may leave its vocabulary to the data.
    """

    name: str
    config: dict[str, Any]
    is_run: bool = False
    steps: int | None = None
    global_batch_size: int | None = None
    seq_len: int | None = None
    bag_size: int | None = None
    superposition_batches: int | None = None
    weighting: str | None = None
    mode: str | None = None


def plan_model(name: str) -> PlanModel:
    """Return the model that a recipe's name or a file names.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such recipe, or a file that holds no model config.
    """
    if name.endswith(".json"):
        return PlanModel(name, _hf_config(Path(name)))
    if Path(name).is_dir():
        return PlanModel(name, _hf_config(Path(name) / "config.json"))
    if not name.endswith((".yaml", ".yml")):
        if "/" in name:
            raise ValueError(
                f"--model {name}: neither a recipe nor a .yaml or .json file. Recipes: "
                f"{', '.join(recipe_names())}."
            )
        name = PREFIX + name.removeprefix(PREFIX)
    return _from_run(name)


def _hf_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"--model {path} is no file; give a config.json, or a recipe: {', '.join(recipe_names())}."
        )
    try:
        config = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"--model {path} is not JSON ({error}); give the config.json of a Hugging Face model."
        ) from None
    if not isinstance(config, dict):
        raise ValueError(
            f"--model {path} holds no JSON object; give the config.json of a Hugging Face model."
        )
    return config


def _from_run(name: str) -> PlanModel:
    from omegaconf import OmegaConf

    layers = load_layers(name)
    values = OmegaConf.select(layers, "model.config")
    if values is None:
        raise ValueError(
            f"{name} has no model.config, so there is nothing to plan for; name a shape, such as 270m."
        )

    def read(key: str) -> Any:
        return OmegaConf.select(layers, key, throw_on_missing=False)

    superposition = "algorithms.token_superposition"
    steps = _batches(read("max_duration"))
    # A file without a length is a shape: what it lacks is open, not a baseline.
    baseline = steps is not None and read(superposition) is None
    switch = read("train_loader.dataset.superposition_batches") or _batches(read(f"{superposition}.duration"))
    return PlanModel(
        name=name.removeprefix(PREFIX),
        config=OmegaConf.to_container(values, resolve=True),
        is_run=True,
        steps=steps,
        global_batch_size=read("global_train_batch_size"),
        seq_len=read("variables.seq_len"),
        bag_size=1
        if baseline
        else read(f"{superposition}.bag_size") or read("train_loader.dataset.bag_size"),
        superposition_batches=0 if baseline else switch,
        weighting=read(f"{superposition}.weighting"),
        mode=read(f"{superposition}.mode"),
    )


def _batches(time: object) -> int | None:
    """Return the batches of a time string in batches, None for any other."""
    return int(str(time).removesuffix("ba")) if str(time).endswith("ba") else None
