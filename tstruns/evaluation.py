"""`tst eval`: lm-evaluation-harness on an exported model, 0-shot as in the paper, its task data at hand."""

import importlib.util
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .problems import nearest

__all__ = ["evaluate"]


def evaluate(
    model: str | os.PathLike[str], tasks: Sequence[str], data: str | os.PathLike[str], batch_size: int = 8
) -> dict[str, Any]:
    """Returns the harness's results; no hub is asked for anything.

    Args:
        model: A Hugging Face directory, as `tst export` writes.
        tasks: Names of the harness's own tasks or groups, such as `hellaswag`.
        data: A directory with the tasks' datasets under their names on the hub, such as `Rowan/hellaswag`.
        batch_size: Requests in one forward pass.

    Raises:
        FileNotFoundError: There is no such model or data directory, or not the data of a task.
        ValueError: The harness is not installed, or has no such task.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise ValueError(
            "lm-evaluation-harness is not installed here; `make eval-env` builds an environment that has it "
            "(then: .venv-eval/bin/tst eval ...), or pip install 'tst-toolkit[eval]' into one of your own"
        )
    model, data = Path(model).resolve(), Path(data).resolve()
    if not (model / "config.json").is_file():
        raise FileNotFoundError(
            f"{model} holds no config.json; give a Hugging Face directory, as `tst export` writes one"
        )
    if not data.is_dir():
        raise FileNotFoundError(f"{data} is no directory; give the one with the tasks' datasets")
    # Read when these libraries are first imported.
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    for task in tasks:
        if not manager.match_tasks([task]):
            raise ValueError(f"the harness has no task {task!r}; {nearest(task, manager.all_tasks)}")
    with _inside(data), _nothing_remembered():
        try:
            results = simple_evaluate(
                model="hf",
                model_args={"pretrained": str(model)},
                device="cuda" if torch.cuda.is_available() else "cpu",
                tasks=list(tasks),
                num_fewshot=0,
                batch_size=batch_size,
                task_manager=manager,
                log_samples=False,
            )
        except (FileNotFoundError, ConnectionError) as error:
            raise FileNotFoundError(
                f"{data} lacks the data of a task: {str(error).splitlines()[0]} Put a copy of that dataset's "
                f"repository there under its own name, as {data}/Rowan/hellaswag."
            ) from error
    assert results is not None, "rank 0 alone runs here"
    return dict(results)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Works in a directory meanwhile: `datasets` takes Rowan/hellaswag for a folder, if there is one."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _nothing_remembered() -> Iterator[None]:
    """Gives `datasets` an empty cache, as its own knows Rowan/hellaswag by name, whatever lies there now."""
    import datasets  # type: ignore[import-not-found]

    before = datasets.config.HF_DATASETS_CACHE
    with tempfile.TemporaryDirectory(prefix="tst-eval-") as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder)
        try:
            yield
        finally:
            datasets.config.HF_DATASETS_CACHE = before
