"""The gate before bag rows: they are yielded only once an Algorithm that folds them has attached."""

from dataclasses import dataclass


@dataclass
class Attachment:
    """What the dataset serves in phase (i), and whether an Algorithm has agreed to fold it."""

    bag_size: int
    superposition_batches: int
    agreed: bool = False

    def agree(self, *, bag_size: int, superposition_batches: int) -> None:
        """Takes note of an Algorithm's s and P.

        Raises:
            ValueError: One differs from the dataset's; both are named.
        """
        theirs = {"bag_size": bag_size, "superposition_batches": superposition_batches}
        for name, value in theirs.items():
            if value != getattr(self, name):
                raise ValueError(
                    f"{name} is {getattr(self, name)} in the dataset and {value} in TokenSuperposition. "
                    "Leave it out of the algorithm's settings, and it is taken from the dataset."
                )
        self.agreed = True

    def require(self) -> None:
        """Refuses to yield a bag row that nothing would fold.

        Raises:
            ValueError: No Algorithm has agreed.
        """
        if not self.agreed:
            raise ValueError(
                f"the next batch is of bag rows (bag_size: {self.bag_size}, superposition_batches: "
                f"{self.superposition_batches}), but no TokenSuperposition has attached to fold them. Add "
                f"`algorithms: {{token_superposition: {{}}}}` to the YAML, or "
                "composer_algo.TokenSuperposition() to the Trainer; for ordinary training set "
                "superposition_batches: 0."
            )
