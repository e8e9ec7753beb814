"""Run lm-evaluation-harness on an exported model: 0-shot, as in the paper, with no hub at run time.

Needs the extra `eval`, in an environment of its own: `make eval-env`, then .venv-eval/bin/tst. --data holds
the tasks' datasets under their names on the hub (data/Rowan/hellaswag, data/allenai/ai2_arc, ...), copied
beforehand.

    tst eval first-hf --tasks hellaswag,arc_easy,arc_challenge,mmlu --data data

Prints the harness's table; --out writes all of its results as JSON.
"""

import argparse
import json
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Runs `tst eval`; returns 0 when every task was evaluated."""
    parser = argparse.ArgumentParser(
        prog="tst eval", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="Hugging Face directory, as `tst export` writes one")
    parser.add_argument("--tasks", required=True, help="the harness's task names, with commas between")
    parser.add_argument("--data", required=True, help="directory of the tasks' datasets")
    parser.add_argument("--batch-size", type=int, default=8, help="requests in a forward pass (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results as JSON")
    args = parser.parse_args(argv)

    from tstruns.evaluation import evaluate

    results = evaluate(args.model, args.tasks.split(","), args.data, args.batch_size)
    from lm_eval.utils import make_table

    print(make_table(results))
    if "groups" in results:
        print(make_table(results, "groups"))
    if args.out:
        args.out.write_text(json.dumps(results, indent=2, default=str) + "\n")
    return 0
