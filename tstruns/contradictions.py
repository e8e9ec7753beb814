"""What a YAML says twice and differently: checked once, before any work."""

from fractions import Fraction

from .config import RunConfig


def contradictions(config: RunConfig, num_ranks: int) -> list[str]:
    """Returns one sentence for each pair of settings that cannot both hold, naming both values."""
    return [
        *_batches(config, num_ranks),
        *_execution(config),
        *_superposition(config),
        *_schedule(config),
        *_loaders(config),
    ]


def _batches(config: RunConfig, num_ranks: int) -> list[str]:
    rows, micro = config.global_train_batch_size, config.device_train_microbatch_size
    if rows % num_ranks:
        return [
            f"global_train_batch_size: {rows} rows cannot be shared evenly by {num_ranks} ranks; "
            f"take a multiple of {num_ranks}"
        ]
    if isinstance(micro, int) and micro > rows // num_ranks:
        return [
            f"device_train_microbatch_size: {micro} rows are more than the {rows // num_ranks} a rank has of "
            f"global_train_batch_size {rows} on {num_ranks} ranks"
        ]
    return []


def _execution(config: RunConfig) -> list[str]:
    problems = []
    sharding = config.fsdp_config
    if sharding is not None and config.device_train_microbatch_size == "auto":
        problems.append(
            "device_train_microbatch_size: 'auto', but Composer finds no size of its own with fsdp_config "
            "(FSDP2); give a number of rows"
        )
    asks = {
        "compile_config": config.compile_config is not None,  # dynamo cannot follow the making of a cache
        # Layers that run again in the backward pass would fill it twice.
        "fsdp_config.activation_checkpointing": sharding is not None and sharding.activation_checkpointing,
    }
    cache = config.model.config.get("use_cache", "left out")
    problems += [
        f"model.config.use_cache: {cache}, but {name} needs a model that keeps no cache; add "
        "model.config.use_cache=false"
        for name, is_on in asks.items()
        if is_on and cache is not False
    ]
    return problems


def _superposition(config: RunConfig) -> list[str]:
    data, algorithm = config.train_loader.dataset, config.algorithms.token_superposition
    problems = []
    if data.superposition_batches and algorithm is None:
        problems.append(
            f"train_loader.dataset.superposition_batches: {data.superposition_batches} batches of bag rows "
            f"(bag_size {data.bag_size}), but algorithms has no token_superposition to train on them; add "
            "algorithms.token_superposition={}, or set the batches to 0 for a plain run"
        )
    if algorithm is None and config.algorithms.reinitialise_embeddings is not None:
        problems.append(
            "algorithms.reinitialise_embeddings: it acts at the switch of token_superposition, and there "
            "is none; add algorithms.token_superposition={}, or take it out"
        )
    if algorithm is None:
        return problems
    if algorithm.mode == "output_only":
        if data.superposition_batches:
            problems.append(
                f"train_loader.dataset.superposition_batches: {data.superposition_batches}, but algorithms."
                "token_superposition.mode is 'output_only', which reads ordinary rows; set it to 0"
            )
        return problems
    if algorithm.bag_size is not None and algorithm.bag_size != data.bag_size:
        problems.append(
            f"algorithms.token_superposition.bag_size: {algorithm.bag_size}, but train_loader.dataset."
            f"bag_size is {data.bag_size}; leave the first out, and it is taken from the dataset"
        )
    return problems


def _share(time: str, max_duration: str) -> Fraction | None:
    """Returns a time as a share of max_duration; None when their units cannot be compared here."""
    units = ("dur", "ba", "sp", "tok", "ep")
    unit = next(unit for unit in units if time.endswith(unit))
    if unit == "dur":
        return Fraction(time.removesuffix(unit))
    if not max_duration.endswith(unit):
        return None
    return Fraction(time.removesuffix(unit)) / max(1, int(max_duration.removesuffix(unit)))


def _schedule(config: RunConfig) -> list[str]:
    if config.scheduler.name != "wsd":
        return []
    warmup = _share(config.scheduler.t_warmup, config.max_duration)
    decay = _share(config.scheduler.t_decay, config.max_duration)
    if decay is None:
        return [
            f"scheduler.t_decay: {config.scheduler.t_decay!r} counts back from the end, so it needs the unit "
            f"of max_duration {config.max_duration!r}, or dur"
        ]
    if warmup is not None and warmup + decay > 1:
        return [
            f"scheduler: t_warmup {config.scheduler.t_warmup!r} and t_decay {config.scheduler.t_decay!r} "
            f"together are longer than max_duration {config.max_duration!r}"
        ]
    return []


def _loaders(config: RunConfig) -> list[str]:
    problems = []
    for name, loader in (("train_loader", config.train_loader), ("eval_loader", config.eval_loader)):
        if loader is None:
            continue
        data = loader.dataset
        if data.streams:
            if data.local or data.remote:
                problems.append(
                    f"{name}.dataset.local: {data.local or data.remote!r}, and streams beside it; give either"
                )
        elif not data.local and not data.remote:
            problems.append(f"{name}.dataset.local: missing; give a bag-shard directory, or remote and local")
        elif not data.local:
            problems.append(
                f"{name}.dataset.local: missing; remote {data.remote!r} needs a place to keep its shards"
            )
    if config.eval_loader is not None and config.eval_loader.dataset.superposition_batches:
        found = config.eval_loader.dataset.superposition_batches
        problems.append(
            f"eval_loader.dataset.superposition_batches: {found}, but evaluation is ordinary next-token in "
            "both phases; leave it out"
        )
    return problems
