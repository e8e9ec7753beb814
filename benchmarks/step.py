"""A whole superposed step at latent length L against an ordinary step at L: same model, arms in turn.

    .venv/bin/python benchmarks/step.py --steps 5

A step is forward, loss, backward, clipping and AdamW, as Composer's Trainer runs them: batches are folded by
the Algorithm's own functions and enter by its own patches. Arms: ordinary; superposed at each s with the loss
in the head's place (the default) and from whole logits. Every round runs each arm once, in turn; printed are
each arm's median and the median over rounds of its ratio to the ordinary step of its round.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

HEADER = "| arm | s | median s a step | ratio to ordinary |\n|---|---|---|---|"


def main(argv: list[str] | None = None) -> int:
    """Measure and print one table."""
    arguments = parse(argv)
    import torch

    torch.set_num_threads(arguments.threads)
    arms: dict[tuple[str, int], Callable[[], None]] = {("ordinary", 1): step(arguments, 1, fused=False)}
    for bag_size in arguments.bag_sizes:
        arms["superposed", bag_size] = step(arguments, bag_size, fused=True)
        arms["superposed, from logits", bag_size] = step(arguments, bag_size, fused=False)
    for run in arms.values():
        run()
    times: dict[tuple[str, int], list[float]] = {arm: [] for arm in arms}
    for _ in range(arguments.steps):
        for arm, run in arms.items():
            start = clock(arguments)
            run()
            times[arm].append(clock(arguments) - start)
    print(HEADER)
    for (name, bag_size), taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(taken, times["ordinary", 1], strict=True))
        print(f"| {name} | {bag_size} | {statistics.median(taken):.3f} | {ratio:.3f} |")
    shape = f"{arguments.layers} layers, width {arguments.width}, vocabulary {arguments.vocabulary}"
    print(f"\n{shape}, {arguments.rows} rows of L = {arguments.seq_len}; {arguments.steps} rounds, ", end="")
    print(f"{'processor' if arguments.cpu_time else 'wall'} time; {platform.machine()}, ", end="")
    print(f"{os.cpu_count()} cores, {arguments.threads} thread(s), torch {torch.__version__}, ", end="")
    print(f"load average {os.getloadavg()[0]:.1f}")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; defaults are a shape small enough for a laptop, its vocabulary in proportion."""
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="benchmarks/step.py", description=__doc__, formatter_class=how)
    parser.add_argument("--steps", type=int, default=15, help="rounds")
    parser.add_argument("--bag-sizes", type=int, nargs="+", default=[6, 16])
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--seq-len", type=int, default=512, help="L")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cpu-time", action="store_true", help="processor time: swayed less by other work")
    return parser.parse_args(argv)


def step(arguments: argparse.Namespace, bag_size: int, *, fused: bool) -> Callable[[], None]:
    """Return a function that trains one step, always on the same batch; bag size 1 is the native path."""
    import torch

    from composer_algo.algorithm import adapter_for
    from composer_algo.batch import superpose_batch
    from composer_algo.objective import Objective
    from composer_algo.settings import Settings
    from composer_algo.superposed_model import SuperposedModel

    model = make_model(arguments).to(arguments.device)
    if bag_size > 1:
        adapter = adapter_for(model, folds_inputs=True)
        SuperposedModel(adapter, Objective(Settings()), folds_inputs=True, fused=fused)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    ids = torch.randint(arguments.vocabulary, (arguments.rows, arguments.seq_len * bag_size))
    ids = ids.to(arguments.device)

    def run() -> None:
        batch: dict[str, Any] = {"input_ids": ids, "labels": ids.clone()}
        if bag_size > 1:
            batch = superpose_batch(batch, bag_size, "full")
            del batch["labels"]
        loss = model.loss(model(batch), batch)
        total = loss["total"] if isinstance(loss, dict) else loss
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return run


def make_model(arguments: argparse.Namespace) -> Any:
    """Return a Llama of the shape asked for, untied, in Composer's wrapper."""
    import torch
    import transformers
    from composer.models import HuggingFaceModel

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=arguments.vocabulary,
        hidden_size=arguments.width,
        intermediate_size=arguments.width * 8 // 3,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.width // 64,
        max_position_embeddings=arguments.seq_len,
        use_cache=False,
    )
    return HuggingFaceModel(transformers.AutoModelForCausalLM.from_config(config), use_logits=True)


def clock(arguments: argparse.Namespace) -> float:
    """Return seconds, of the processor or of the wall, when the device has done what it was given."""
    if arguments.device != "cpu":
        import torch

        torch.accelerator.synchronize()
    return time.process_time() if arguments.cpu_time else time.perf_counter()


if __name__ == "__main__":
    raise SystemExit(main())
