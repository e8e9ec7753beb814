"""Whole numbers on the command line."""

import argparse
from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """Returns an argument's `type` for `argparse`: a whole number that is no less."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too little; the least is {least}.")
        return value

    number.__name__ = "whole number"  # As argparse calls it where the text is none.
    return number
