"""The keys a Hugging Face model's config takes, read from transformers' source without importing it.

Hugging Face configs keep any keyword they are given, so a typo (`num_hidden_layer: 2`) would silently train
another model. Importing one config class takes seconds (it loads torch); its signature can be read from the
file instead, and a test holds this to the imported classes.
"""

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from .problems import nearest, unknown_key

# What every config takes besides its own arguments, and a run from random weights can use.
COMMON = {
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "attn_implementation": None,
}
# What a model reads from its config by getattr, though the config class has no such argument.
UNNAMED: dict[str, dict[str, Any]] = {"qwen3_moe": {"head_dim": None}}


def _models_folder() -> Path:
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        raise ValueError(
            "training needs transformers, which is not installed; pip install 'tst-toolkit[train]'"
        )
    return Path(spec.origin).parent / "models"


def _literal(node: ast.expr | None) -> Any:
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None


def _arguments(init: ast.FunctionDef) -> dict[str, Any]:
    """Returns each argument with its default; None when there is none or it is no literal."""
    arguments = [*init.args.posonlyargs, *init.args.args][1:]
    defaults = [None] * (len(arguments) - len(init.args.defaults)) + list(init.args.defaults)
    pairs = [
        *zip(arguments, defaults, strict=True),
        *zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True),
    ]
    return {argument.arg: _literal(default) for argument, default in pairs}


def _assigned(body: list[ast.stmt], name: str) -> Any:
    for statement in body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", None) == name:
            return _literal(statement.value)
    return None


@cache
def known_keys() -> dict[str, dict[str, Any]]:
    """Returns {model_type: {key: default}} of every decoder config transformers ships (about 0.2 s, once)."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(_models_folder().glob("*/configuration_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef):
                continue
            model_type = _assigned(node.body, "model_type")
            inits = [
                part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"
            ]
            if model_type and inits:
                own = _arguments(inits[0])
                aliases = _assigned(node.body, "attribute_map") or {}
                aliased = {alias: own.get(key) for alias, key in aliases.items()}
                found[model_type] = {**COMMON, **UNNAMED.get(model_type, {}), **aliased, **own}
    return found


def _type_problem(path: str, value: Any, default: Any) -> str | None:
    """Returns the sentence for a value of another type than the key's default, when the default shows one."""
    kinds = (int, float) if isinstance(default, float) else type(default)
    fits = isinstance(value, kinds) and isinstance(value, bool) == isinstance(default, bool)
    if fits or value is None or default is None:
        return None
    return f"{path}: found {value!r}; the rule: {type(default).__name__}, as the model's own {default!r}"


def model_problems(config: dict[str, Any]) -> list[str]:
    """Returns one sentence for each key or value of `model.config` that its model type does not take."""
    if "model_type" not in config:
        return ["model.config.model_type: missing; a Hugging Face model type, such as 'llama'"]
    model_type, known = config["model_type"], known_keys()
    if model_type not in known:
        return [f"model.config.model_type: found {model_type!r}; {nearest(str(model_type), known)}"]
    keys = known[model_type]
    problems = []
    for key, value in config.items():
        path = f"model.config.{key}"
        if key == "model_type":
            continue
        if key not in keys:
            problems.append(unknown_key(path, [*keys, "model_type"]))
        elif problem := _type_problem(path, value, keys[key]):
            problems.append(problem)
    return problems or _head_problems(config)


def _head_problems(config: dict[str, Any]) -> list[str]:
    """Llama-like models round the head size down and fail in their first batch only."""
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if config.get("head_dim") or not width or not heads or width % heads == 0:
        return []
    return [
        f"model.config.hidden_size: {width} cannot be shared evenly by num_attention_heads {heads}; take a "
        "multiple, or give head_dim"
    ]
