"""Token superposition for Composer: folding, the multi-hot loss, the Algorithm."""
