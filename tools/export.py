"""Write a run's checkpoint as an ordinary Hugging Face directory: safetensors weights, config, tokenizer.

Plain transformers loads it; nothing of TST is left in it. A checkpoint of either phase is an ordinary model,
but one of the superposition phase was never trained to predict a single next token: a warning says so.

    tst export runs/first --to first-hf

Prints the directory; warnings go to stderr.
"""

import argparse
import sys


def main(argv: list[str] | None = None) -> int:
    """Runs `tst export`; returns 0 when the directory is written."""
    parser = argparse.ArgumentParser(
        prog="tst export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="run directory of `tst train`")
    parser.add_argument("--to", required=True, metavar="DIR", help="the new directory")
    parser.add_argument("--step", type=int, help="batches done at the checkpoint to take (the newest)")
    args = parser.parse_args(argv)

    from tstruns.export import export

    done = export(args.run, args.to, args.step)
    for warning in done.warnings:
        print(f"tst export: warning: {warning}", file=sys.stderr)
    print(f"batch {done.batch} of {args.run}, for AutoModelForCausalLM.from_pretrained:", file=sys.stderr)
    print(done.folder)
    return 0
