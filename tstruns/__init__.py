"""Runs: what `tst train` and `tst demo` are made of; neither data nor algorithm."""
