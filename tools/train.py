"""Run a Composer Trainer from a YAML file, in a run directory; the same command on it goes on after a kill.

The keys are LLM Foundry's (model, optimizer, scheduler, train_loader, eval_loader, algorithms, ...), and
docs/train.md explains each. `key=value` wins over the file, and `key=null` switches a section off:

    tst train run.yaml run_dir=runs/first optimizer.lr=3e-4 max_duration=1000ba

Many ranks: composer -n 2 -m tst_tools train run.yaml run_dir=runs/first

Prints the run's summary as JSON; progress goes to stderr.
"""

import argparse
import json
import os
import sys


def main(argv: list[str] | None = None) -> int:
    """Runs `tst train`; returns 0 when the run is finished, also when it was before."""
    parser = argparse.ArgumentParser(
        prog="tst train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="the run's YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values that win over the file's")
    args = parser.parse_args(argv)

    from tstruns import RunDirectory, read_config, train

    config = read_config(args.config, args.overrides)
    before = RunDirectory(config.run_dir).summary()
    summary = train(config)
    if int(os.environ.get("RANK", "0")) == 0:
        if before == summary:
            print(f"{config.run_dir} is finished already: nothing to do", file=sys.stderr)
        print(json.dumps(summary, indent=2))
    return 0
