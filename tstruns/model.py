"""The model of a run: a Hugging Face decoder with random weights, in Composer's wrapper."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from composer.models import HuggingFaceModel

    from tstdata import DatasetCard

    from .sections import HFCausalLM


def build_model(section: "HFCausalLM", card: "DatasetCard | None", tokenizer: Any) -> "HuggingFaceModel":
    """Returns the model a `model` section describes, its weights drawn from torch's current seed.

    Args:
        section: The checked YAML section; its config may leave out vocab_size.
        card: The training data's card; vocab_size comes from it, and no id of it may exceed the model's.
        tokenizer: A transformers tokenizer, kept in every checkpoint, or None.

    Raises:
        ValueError: vocab_size is missing or too small for the data, or transformers refuses the config.
    """
    from composer.metrics.nlp import LanguageCrossEntropy, LanguagePerplexity
    from composer.models import HuggingFaceModel
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {**section.config, "vocab_size": _vocab_size(section.config, card)}
    try:
        config = AutoConfig.for_model(**values)
        model = AutoModelForCausalLM.from_config(config)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"model.config: transformers builds no causal language model from {values}: {error}"
        ) from error
    metrics = [LanguageCrossEntropy(), LanguagePerplexity()]
    # None on training batches: the loss says it, and in the superposition phase they would be of bags.
    with _known_to_be_causal():
        return HuggingFaceModel(
            model, tokenizer=tokenizer, use_logits=True, metrics=None, eval_metrics=metrics
        )


@contextmanager
def _known_to_be_causal() -> Iterator[None]:
    """Spares HuggingFaceModel its question whether a model is a causal one, to decide on shifting labels.

    It compares with every such class of transformers, and so imports about 140 modules: 6 of the 10 seconds
    that a small run takes to start. A model out of AutoModelForCausalLM is one of them.
    """
    from composer.models import huggingface

    asked = huggingface._is_registered_causal_lm
    huggingface._is_registered_causal_lm = lambda model: True
    try:
        yield
    finally:
        huggingface._is_registered_causal_lm = asked


def _vocab_size(config: dict[str, Any], card: "DatasetCard | None") -> int:
    given = config.get("vocab_size")
    if given is None:
        if card is None:
            raise ValueError(
                "model.config.vocab_size: missing, and the training data have no dataset.json to take it "
                "from; add model.config.vocab_size=N"
            )
        return card.tokenizer.vocab_size
    if card is not None and card.tokenizer.vocab_size > given:
        raise ValueError(
            f"model.config.vocab_size: {given}, but the training data's tokenizer has "
            f"{card.tokenizer.vocab_size} ids; leave it out, or give at least as many"
        )
    return int(given)
