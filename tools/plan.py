"""Say before a run starts what it will read and cost, when it switches, and what the paper saw nearby.

A recipe of a whole run (such as 3b-20k-tst) needs nothing more; a shape (270m, 600m, 3b, 10b-a1b) or a
Hugging Face config.json needs the run's sizes too. What is typed wins over the recipe:

    tst plan --model 600m --steps 20000 --bag-size 6 --superposition-ratio 0.3 --gpu B200

--data names a bag-shard directory, and the plan says whether it has enough. --json prints everything as JSON.
"""

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tstruns.plan_model import PlanModel
    from tstruns.run_size import RunSize

# Those of `composer_algo.WEIGHTINGS`, which would load torch.
WEIGHTINGS = ("uniform", "power_law", "exponential", "first_token")


def main(argv: list[str] | None = None) -> int:
    """Runs `tst plan`; returns 0."""
    args = _parser().parse_args(argv)

    from tstruns.plan import make_plan
    from tstruns.plan_model import plan_model
    from tstruns.plan_report import plan_report

    model = plan_model(args.model)
    plan = make_plan(
        model,
        _size(args, model),
        weighting=args.weighting or model.weighting or "uniform",
        data=args.data,
        gpu=args.gpu,
        utilisation=args.utilisation,
    )
    print(json.dumps(plan.as_dict(), indent=2) if args.json else plan_report(plan))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tst plan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, help="a recipe's name, a run's YAML, or a Hugging Face config.json")
    add("--steps", type=int, metavar="N", help="optimizer steps, both phases together")
    add("--global-batch-size", type=int, metavar="B", help="rows a step, over all ranks")
    add("--seq-len", type=int, metavar="L", help="latent positions in a row: a dataset row's length")
    add("--bag-size", type=int, metavar="S", help="tokens in a bag; 1 is a baseline")
    add("--superposition-ratio", metavar="R", help="share of the steps in the superposition phase, 0 to 1")
    add(
        "--weighting",
        choices=("uniform", "power_law", "exponential", "first_token"),
        help="of a bag's targets",
    )
    add("--mode", choices=("full", "input_only", "output_only"), help="which side is superposed")
    add("--data", metavar="DATASET", help="a bag-shard directory to hold the plan against")
    add("--gpu", default="H100", metavar="KIND", help="whose stated peak to count hours by (default H100)")
    add("--utilisation", type=float, default=0.4, metavar="U", help="share of it reached (default 0.4)")
    add("--json", action="store_true", help="print everything as JSON")
    return parser


def _size(args: argparse.Namespace, model: "PlanModel") -> "RunSize":
    """Returns the run's size: typed values first, then those of the model's file, then the data's."""
    from tstdata.card import DatasetCard
    from tstruns.run_size import RunSize, switch_batch_of

    found = {
        name: getattr(args, name) if getattr(args, name) is not None else getattr(model, name)
        for name in ("steps", "global_batch_size", "seq_len", "bag_size")
    }
    switch = model.superposition_batches if args.steps is None else None
    if args.superposition_ratio is not None and found["steps"] is not None:
        switch = switch_batch_of(args.superposition_ratio, found["steps"])
    elif found["bag_size"] == 1:
        switch = 0
    if found["seq_len"] is None and args.data is not None:
        found["seq_len"] = DatasetCard.load(args.data).seq_len
    missing = ["--" + name.replace("_", "-") for name, value in found.items() if value is None]
    if args.superposition_ratio is None and switch is None:
        missing.append("--superposition-ratio")
    if missing or switch is None:
        raise ValueError(
            f"{model.name} does not say {', '.join(missing)}; a plan needs all of them. Type them, as in "
            "--steps 20000 --global-batch-size 1024 --seq-len 2048 --bag-size 6 --superposition-ratio 0.3."
        )
    return RunSize(**found, superposition_batches=switch, mode=args.mode or model.mode or "full")
