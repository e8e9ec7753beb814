"""The YAML lines that make a run what was planned, for `tst train` and LLM Foundry alike."""

from .run_size import RunSize

__all__ = ["plan_yaml"]


def plan_yaml(size: RunSize, weighting: str = "uniform", data: str | None = None) -> str:
    """Return the lines for a run's length, batch, data and superposition; a baseline has none of the last."""
    superposes = size.bag_size > 1 and size.superposition_batches > 0
    serves_bags = superposes and size.growth > 1
    lines = [
        f"max_duration: {size.steps}ba",
        f"global_train_batch_size: {size.global_batch_size}",
        "train_loader:",
        "  name: bag_shards",
        "  dataset:",
        f"    local: {data or 'DATASET'}",
    ]
    if serves_bags:
        lines += [
            f"    bag_size: {size.bag_size}",
            f"    superposition_batches: {size.superposition_batches}",
        ]
    if superposes:
        lines += [
            "algorithms:",
            "  token_superposition:",
            f"    bag_size: {size.bag_size}",
            f"    duration: {size.superposition_batches}ba",
        ]
        lines += [f"    weighting: {weighting}"] if weighting != "uniform" else []
        lines += [f"    mode: {size.mode}"] if size.mode != "full" else []
    return "\n".join(lines) + "\n"
