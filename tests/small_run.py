"""A run small enough for tests: its YAML, and running it with overrides."""

import json
from pathlib import Path
from typing import Any

from tstruns import read_config, train

SMALL_RUN = """
run_dir: {run_dir}
max_duration: 12ba
global_train_batch_size: 4
seed: 5
progress_bar: false
model:
  name: hf_causal_lm
  config: {{{model}}}
optimizer: {{name: decoupled_adamw, lr: 4.0e-3}}
scheduler: {{name: wsd, t_warmup: 2ba, t_decay: 0.25dur}}
train_loader:
  name: bag_shards
  dataset: {{local: {dataset}, shuffle: true, bag_size: 2, superposition_batches: 5}}
eval_loader:
  name: bag_shards
  dataset: {{local: {dataset}}}
eval_subset_num_batches: 2
algorithms:
  token_superposition: {{}}
  gradient_clipping: {{clipping_type: norm, clipping_threshold: 1.0}}
"""
LLAMA = (
    "model_type: llama, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, "
    "num_attention_heads: 2, max_position_embeddings: 32"
)
GPT2_WITH_DROPOUT = "model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, n_positions: 32, resid_pdrop: 0.1"
# Values of a metrics line that differ between equal runs.
TIMES = ("wall_seconds", "throughput/")


def write_run(folder: Path, dataset: Path, name: str = "run", model: str = LLAMA) -> Path:
    """Writes the YAML of a small run into a folder, its run directory beside it."""
    file = folder / f"{name}.yaml"
    file.write_text(SMALL_RUN.format(run_dir=folder / name, dataset=dataset, model=model))
    return file


def run(file: Path, *overrides: str) -> dict[str, Any]:
    """Trains in this process, on one thread; returns the summary."""
    import torch

    torch.set_num_threads(1)
    return train(read_config(file, overrides))


def metrics_without_times(run_dir: Path) -> list[dict[str, Any]]:
    """Reads metrics.jsonl, every line whole, without what a clock says."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith(TIMES)} for line in lines]
