"""Where in a row a model's loss lies: at tokens that repeat what the row had before, and at all others.

A pair of neighbouring tokens that comes a second time in a row can be copied from the first: the work of what
are called induction heads (Olsson et al. 2022, arXiv:2209.11895). So the held-out loss is split into that of
tokens which end such a pair and that of all others; and a row of random tokens, its second half the first
again, asks for copying and nothing else. Losses are in nats a token.
"""

import csv
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiment import Experiment

from tstruns.arms import Spread
from tstruns.export import export
from tstruns.finished_run import FinishedRun

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

REPETITION = "repetition.csv"
MEASURES = ("repeated_share", "repeated_loss", "other_loss", "random_loss", "random_again_loss")
RANDOM_ROWS = 256


def repetition_rows(
    experiment: Experiment, finished: dict[str, list[FinishedRun]], work: Path
) -> list[dict[str, Any]]:
    """Returns each run's losses, measured once and kept in `work/repetition`."""
    rows: list[torch.Tensor] = []
    found = []
    for arm, runs in finished.items():
        for run in runs:
            kept = work / "repetition" / f"{run.path.name}.json"
            if not kept.is_file() or kept.stat().st_mtime < (run.path / "summary.json").stat().st_mtime:
                rows = rows or [evaluated_rows(experiment, work)]
                kept.parent.mkdir(exist_ok=True)
                kept.write_text(json.dumps(measure(_model(run), rows[0])))
            found.append({"arm": arm, "seed": run.seeds[0], **json.loads(kept.read_text())})
    return found


def read_repetition(folder: Path) -> dict[str, dict[str, Spread]]:
    """Returns the measures of each arm over its seeds; none when the directory has no repetition.csv."""
    if not (folder / REPETITION).is_file():
        return {}
    with (folder / REPETITION).open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    return {
        arm: {name: Spread(_column(rows, arm, name)) for name in MEASURES}
        for arm in dict.fromkeys(row["arm"] for row in rows)
    }


def _column(rows: Iterable[dict[str, str]], arm: str, name: str) -> tuple[float, ...]:
    return tuple(float(row[name]) for row in rows if row["arm"] == arm)


def evaluated_rows(experiment: Experiment, work: Path) -> "torch.Tensor":
    """Returns the rows that every run is evaluated on, as token ids (rows, L)."""
    import torch

    from tstdata import StreamingBagDataset

    dataset = StreamingBagDataset(
        local=str(work / "data" / "val"),
        bag_size=1,
        superposition_batches=0,
        batch_size=experiment.rows,
        shuffle=False,
    )
    count = min(len(dataset), experiment.eval_batches * experiment.rows)
    return torch.stack([torch.as_tensor(dataset[row]["input_ids"]).long() for row in range(count)])


def _model(run: FinishedRun) -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as scratch:
        folder = export(run.path, Path(scratch) / "model").folder
        return AutoModelForCausalLM.from_pretrained(folder)


def measure(model: "PreTrainedModel", rows: "torch.Tensor") -> dict[str, float]:
    """Returns the MEASURES of a model; `rows` are token ids (rows, L)."""
    import torch

    # As many as a run trains with: two that wait for one another on a busy machine take ten times as long.
    torch.set_num_threads(1)
    repeated = repeats_a_pair(rows)
    losses = token_losses(model, rows)
    half = rows.shape[1] // 2
    generator = torch.Generator().manual_seed(0)
    once = torch.randint(model.config.vocab_size, (RANDOM_ROWS, half), generator=generator)
    random = token_losses(model, torch.cat([once, once], dim=1))
    values = (
        repeated.float().mean(),
        losses[repeated].mean(),
        losses[~repeated].mean(),
        # The first token of the second half follows the last of the first: nothing tells it.
        random[:, : half - 1].mean(),
        random[:, half:].mean(),
    )
    return {name: round(value.item(), 5) for name, value in zip(MEASURES, values, strict=True)}


def repeats_a_pair(rows: "torch.Tensor") -> "torch.Tensor":
    """Returns for each predicted token, (rows, L - 1), whether the row has had it after the one before it."""
    pairs = rows[:, :-1] * (rows.max() + 1) + rows[:, 1:]
    same = pairs[:, :, None] == pairs[:, None, :]
    return same.tril(diagonal=-1).any(dim=2)


def token_losses(model: "PreTrainedModel", rows: "torch.Tensor") -> "torch.Tensor":
    """Returns the cross-entropy of every predicted token, (rows, L - 1), in nats."""
    import torch
    from torch.nn.functional import cross_entropy

    found = []
    with torch.no_grad():
        for batch in rows.split(32):
            logits = model(input_ids=batch).logits[:, :-1].float()
            found.append(cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none"))
    return torch.cat(found)
