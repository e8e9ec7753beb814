"""Saved datasets: folders that Hugging Face `datasets` wrote with `save_to_disk`, as their arrow files.

A folder of one dataset has `state.json`, which lists its files in order; a folder of several has
`dataset_dict.json`, and one such folder for each split.
"""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import orjson

from .file_systems import join, open_file

_STATE, _INFO, _SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


def saved_files(source: str, paths: Sequence[str]) -> list[str]:
    """Returns the files to read of a directory's `paths`, sorted; of a saved dataset, those of its rows.

    Raises:
        ValueError: It holds several splits, or rows that are only an index into others.
    """
    ordered = sorted(paths, key=lambda path: PurePath(path).parts)
    for path in ordered:
        if PurePath(path).name == _SPLITS:
            splits = _read(path).get("splits", [])
            if len(splits) != 1:
                folder = path.removesuffix(f"/{_SPLITS}")
                names = ", ".join(join(folder, split) for split in splits)
                raise ValueError(
                    f"{folder} is a saved dataset of {len(splits)} splits: name the one you want: {names}."
                )
    states = [path for path in ordered if PurePath(path).name == _STATE]
    states = [path for path in states if path.removesuffix(_STATE) + _INFO in set(ordered)]
    saved = {path.removesuffix(_STATE): _files_of(path) for path in states}
    found: list[str] = []
    for path in ordered:
        folder, name = path[: len(path) - len(PurePath(path).name)], PurePath(path).name
        if folder in saved:
            found += saved[folder] if name == _STATE else []
        elif name != _SPLITS:
            found.append(path)
    return found


def _files_of(state: str) -> list[str]:
    fields = _read(state)
    if fields.get("_indices_data_files"):
        raise ValueError(
            f"{state}: the dataset is a selection of other rows. Save it with flatten_indices() first."
        )
    try:
        return [state.removesuffix(_STATE) + file["filename"] for file in fields["_data_files"]]
    except (KeyError, TypeError):
        raise ValueError(f"{state} does not list its data files: it is no saved dataset.") from None


def _read(path: str) -> dict[str, Any]:
    with open_file(path) as file:
        try:
            fields = orjson.loads(file.read())
        except orjson.JSONDecodeError as error:
            raise ValueError(f"{path} is not JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{path} does not describe a saved dataset.")
    return fields
