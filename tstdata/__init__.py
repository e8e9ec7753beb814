"""Bag shards: reading corpora, preparing, checking and streaming them."""
