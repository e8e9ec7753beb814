"""Finished run directories written by hand, with round numbers, for the tests of `tst compare`."""

import csv
import json
from pathlib import Path
from typing import Any

import yaml

from tstruns.run_directory import RunDirectory

ROWS, SEQ_LEN, FLOPS_A_POSITION = 4, 8, 1000


LOSS = "metrics/eval/LanguageCrossEntropy"


def write(
    folder: Path,
    loss: float,
    *,
    steps: int = 100,
    bag_size: int = 1,
    switch: int = 0,
    seed: int = 1,
    config: dict[str, Any] | None = None,
    summary: dict[str, Any] | None = None,
) -> Path:
    """Writes a finished run directory with round numbers, as `tst train` leaves it."""
    data = {"local": f"/data/of/{folder.name}", "shuffle_seed": seed}
    algorithms: dict[str, Any] = {"token_superposition": None}
    if switch:
        data |= {"bag_size": bag_size, "superposition_batches": switch}
        algorithms["token_superposition"] = {"weighting": "uniform", "mode": "full"}
    values = {
        "run_dir": str(folder),
        "max_duration": f"{steps}ba",
        "global_train_batch_size": ROWS,
        "seed": seed,
        "model": {"name": "hf_causal_lm", "config": {"model_type": "llama", "hidden_size": 16}},
        "optimizer": {"name": "adamw", "lr": 0.004},
        "scheduler": {"name": "wsd", "t_warmup": "10ba", "t_decay": "0.1dur"},
        "train_loader": {"name": "bag_shards", "dataset": data},
        "algorithms": algorithms,
        **(config or {}),
    }
    lines = []
    for batch in range(1, steps + 1):
        superposed = batch <= switch
        positions = batch * ROWS * SEQ_LEN
        lines.append(
            {
                "batch": batch,
                "tokens": positions + (bag_size - 1) * min(batch, switch) * ROWS * SEQ_LEN,
                "equivalent_tokens": positions,
                "wall_seconds": 36.0 * batch,
                "loss/train/superposition" if superposed else "loss/train/next_token": loss + 50 / batch,
                **({LOSS: loss + (steps - batch) / 100} if batch % (steps // 4) == 0 else {}),
            }
        )
    folder.mkdir(parents=True)
    run = RunDirectory(folder)
    run.config_file.write_text(yaml.safe_dump(values))
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    identity = {"sha256": "d" * 64, "seq_len": SEQ_LEN, "tokenizer_sha256": "t" * 64}
    totals = {
        "max_duration": f"{steps}ba",
        "steps": steps,
        "superposition_steps": switch,
        "tokens": lines[-1]["tokens"],
        "equivalent_tokens": lines[-1]["equivalent_tokens"],
        "train_loss": loss + 0.1,
        "eval": {LOSS: loss},
        "eval_step": steps,
        "wall_seconds": 36.0 * steps,
        "num_parameters": 12345,
        "num_ranks": 1,
        "device": "cpu",
        "flops_per_position": FLOPS_A_POSITION,
        "train_data": identity,
        "eval_data": {**identity, "sha256": "e" * 64, "rows": 64},
    }
    run.finish({**totals, **(summary or {})})
    return folder


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open() as opened:
        return list(csv.DictReader(opened))


def of(rows: list[dict[str, str]], comparison: str) -> dict[str, str]:
    (row,) = [row for row in rows if row["comparison"] == comparison]
    return row


def seven_runs(folder: Path) -> list[Path]:
    """TST with s = 2 and r = 0.5 at 100 steps, 3 seeds; baselines of 100 (2 seeds), 125 and 200 steps."""
    tst = [
        write(folder / f"tst{seed}", loss, bag_size=2, switch=50, seed=seed)
        for seed, loss in ((1, 2.88), (2, 2.90), (3, 2.92))
    ]
    short = [write(folder / f"base{seed}", loss, seed=seed) for seed, loss in ((1, 2.99), (2, 3.01))]
    longer = [
        write(folder / "base125", 2.95, steps=125),
        write(folder / "base200", 2.75, steps=200),
    ]
    return [*tst, *longer, *short]
