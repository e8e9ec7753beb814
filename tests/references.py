"""The dumbest correct code for each law, to hold the real code to. One section for each area."""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

# --- composer_algo: folding, weights and the multi-hot loss -------------------------------------------


def fold_bags(rows: list[list[int]], bag_size: int) -> list[list[list[int]]]:
    return [[row[start : start + bag_size] for start in range(0, len(row), bag_size)] for row in rows]


def next_bag_targets(labels: list[list[int]], bag_size: int, ignore_index: int) -> list[list[list[int]]]:
    last = [ignore_index] * bag_size
    return [[*bags[1:], last] for bags in fold_bags(labels, bag_size)]


def next_window_targets(labels: list[list[int]], bag_size: int, ignore_index: int) -> list[list[list[int]]]:
    return [
        [
            [row[at] if at < len(row) else ignore_index for at in range(token + 1, token + 1 + bag_size)]
            for token in range(len(row))
        ]
        for row in labels
    ]


def bag_weights(weighting: str, bag_size: int) -> list[float]:
    formula = {
        "uniform": lambda i: 1,
        "power_law": lambda i: 1 / i,
        "exponential": lambda i: math.exp(-i),
        "first_token": lambda i: 1 if i == 1 else 0,
        "fitted": lambda i: 3.63 + 1.35 / i**1.25,
    }[weighting]
    raw = [formula(i) for i in range(1, bag_size + 1)]
    return [value / sum(raw) for value in raw]


def multi_hot_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """One ordinary cross-entropy for each position in the bag, pooled over what is not ignored (-100)."""
    total, valid_weight = 0.0, 0.0
    for i, weight in enumerate(weights):
        target = targets[..., i].flatten()
        total = total + weight * F.cross_entropy(logits.flatten(0, -2), target, reduction="sum")
        valid_weight = valid_weight + weight * (target != -100).sum()
    return total / valid_weight


# --- tstdata: the superposition plan and the sample order ---------------------------------------------


def epochs_dealt_out(
    rows_per_shard: list[int], bag_size: int, bag_batches: int, batch_size: int, drop_last: bool, epochs: int
) -> list[list[tuple[str, int]]]:
    """The kind and the size of each global batch of each epoch, dealt out one at a time."""
    dealt = []
    for _ in range(epochs):
        bags, rows, batches = sum(n // bag_size for n in rows_per_shard), sum(rows_per_shard), []
        while bag_batches and bags >= batch_size:
            batches.append(("bags", batch_size))
            bags, rows, bag_batches = bags - batch_size, rows - batch_size * bag_size, bag_batches - 1
        while not bag_batches and rows >= (batch_size if drop_last else 1):
            batches.append(("rows", min(rows, batch_size)))
            rows -= min(rows, batch_size)
        dealt.append(batches)
    return dealt


def draw(number: int, *salts: int) -> int:
    word = 0
    for salt in (*salts, number):  # splitmix64
        word = (word + salt + 0x9E3779B97F4A7C15) % 2**64
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
        word = word ^ word >> 31
    return word


def sample_order(
    rows_per_shard: list[int],
    bag_size: int,
    num_bags: int,
    num_nodes: int,
    shuffle: tuple[str | None, int, int],
    epoch: int,
) -> tuple[list[int], list[int]]:
    """The first rows of the first `num_bags` bag rows, and then the order of all other rows, row by row."""
    algo, seed, block = shuffle
    shards, heads = list(range(len(rows_per_shard))), [0] * len(rows_per_shard)
    if algo:
        shards.sort(key=lambda shard: draw(shard, seed, 1))
        heads = [draw(shard, seed, epoch, 2) % (n % bag_size + 1) for shard, n in enumerate(rows_per_shard)]
    rows = [(shard, place) for shard in shards for place in range(rows_per_shard[shard])]
    first_row = [sum(rows_per_shard[:shard]) for shard in range(len(rows_per_shard))]

    def may_cut(at: int) -> bool:
        shard, place = rows[at]
        return place == 0 or (place >= heads[shard] and (place - heads[shard]) % bag_size == 0)

    num_nodes = 1 if algo == "naive" else num_nodes
    cuts = [max(at for at in range(len(rows) * n // num_nodes + 1) if may_cut(at)) for n in range(num_nodes)]
    nodes = []
    for begin, end in zip(cuts, [*cuts[1:], len(rows)], strict=True):
        spans = [[row for row in rows[begin:end] if row[0] == shard] for shard in shards]
        spans = [span for span in spans if span]
        if algo:
            spans.sort(key=lambda span: draw(first_row[span[0][0]] + span[0][1], seed, epoch, 3))
        nodes.append(spans)

    bags_of_nodes, left_of_nodes = [], []
    for spans in nodes:
        bags_of_nodes.append([])
        for span in spans:
            rest = span[heads[span[0][0]] :] if span[0][1] == 0 else span
            bags = [rest[at : at + bag_size] for at in range(0, len(rest), bag_size)]
            bags_of_nodes[-1].append([tuple(bag) for bag in bags if len(bag) == bag_size])
    firsts = [[[first_row[bag[0][0]] + bag[0][1] for bag in span] for span in node] for node in bags_of_nodes]
    free = [[False] * len(spans) for spans in nodes]
    chosen = take_turns(firsts, free, (algo, seed, max(1, block // bag_size)), epoch, 4)[:num_bags]

    used = {row + i for row in chosen for i in range(bag_size)}
    for node, spans in enumerate(nodes):
        left = [[first_row[shard] + place for shard, place in span] for span in spans]
        left_of_nodes.append([[row for row in span if row not in used] for span in left])
        for number, span in enumerate(firsts[node]):
            free[node][number] = bool(algo) and bool(span) and all(row in used for row in span)
    return chosen, take_turns(left_of_nodes, free, (algo, seed, block), epoch, 5)


def take_turns(
    nodes: list[list[list[int]]],
    free: list[list[bool]],
    shuffle: tuple[str | None, int, int],
    epoch: int,
    purpose: int,
) -> list[int]:
    """Nodes of spans of units, in the order of their places, one unit of each node at a time."""
    algo, seed, block = shuffle
    lines = []
    for node, (spans, anywhere) in enumerate(zip(nodes, free, strict=True)):
        begin, placed = 0, []
        length = sum(len(span) for span, lost in zip(spans, anywhere, strict=True) if not lost)
        shift = draw(node, seed, epoch, 6) % block if algo == "py1br" else 0
        for span, lost in zip(spans, anywhere, strict=True):
            for inside, unit in enumerate(span):
                in_block = (begin + shift + inside) // block * block
                slack = max(block - len(span), 0) / 2
                low, high = {
                    None: (begin + inside, begin + inside + 1),
                    "naive": (0, length),
                    "py1e": (max(begin - slack, 0), min(begin + len(span) + slack, length)),
                    "py1s": (begin, begin + len(span)),
                    "py2s": (begin, begin + len(span)),
                    "py1b": (in_block, in_block + block),
                    "py1br": (in_block, in_block + block),
                }[algo]
                if lost:
                    low, high = 0, max(length, 1)
                placed.append(
                    (low + (draw(unit, seed, epoch, purpose) >> 11) * 2.0**-53 * (high - low), unit)
                )
            begin += 0 if lost else len(span)
        lines.append([unit for _, unit in sorted(placed, key=lambda pair: pair[0])])
    return [line[i] for i in range(max(map(len, lines), default=0)) for line in lines if i < len(line)]


def joined_rows(rows_per_shard: list[int], joined: int, seed: int | None, epoch: int) -> list[int]:
    """The first stored row of every row that `joined` stored rows of one shard make; None: unshuffled."""
    begins, first = [], 0
    for shard, size in enumerate(rows_per_shard):
        at = draw(shard, seed, epoch, 7) % (size % joined + 1) if seed is not None and joined > 1 else 0
        while at + joined <= size:
            begins.append(first + at)
            at += joined
        first += size
    return begins


def drawn_pieces(
    rows_per_shard: list[int],
    stream_of_shard: list[int],
    drawn: tuple[int, ...],
    bag_size: int,
    joined: int,
    seed: int,
    epoch: int,
) -> list[tuple[int, int]]:
    """First stored row and stored rows of each run of rows that an epoch draws of a shard, dealt out."""
    pieces = []
    for stream, wanted in enumerate(drawn):
        shards = [shard for shard, of in enumerate(stream_of_shard) if of == stream]
        rows = {shard: rows_per_shard[shard] // joined for shard in shards}
        rest, num_full = wanted, 0
        while rest >= sum(rows.values()):
            rest, num_full = rest - sum(rows.values()), num_full + 1
        taken, left = dict.fromkeys(shards, 0), rest
        turns = sorted(shards, key=lambda shard: draw(shard, seed, epoch, 8))
        all_bags = sum(rows[shard] // bag_size for shard in shards)
        num_bags = min(rest // bag_size, all_bags)
        dealt, so_far = 0, 0
        for shard in turns:
            for _ in range(rows[shard] // bag_size):
                so_far += 1
                if so_far * num_bags // all_bags > dealt:
                    dealt, taken[shard], left = dealt + 1, taken[shard] + bag_size, left - bag_size
        for shard in turns:
            while left and taken[shard] < rows[shard]:
                taken[shard], left = taken[shard] + 1, left - 1
        for shard in shards:
            first = sum(rows_per_shard[:shard])
            pieces += [(first, rows_per_shard[shard])] * num_full
            if not rest:
                continue
            base = first + draw(shard, seed, epoch, 10) % (rows_per_shard[shard] % joined + 1)
            begin = draw(shard, seed, epoch, 9) % max(rows[shard], 1)
            before = taken[shard]
            if begin + taken[shard] > rows[shard]:
                while begin + before > rows[shard] or before % bag_size:
                    before -= 1
                begin = rows[shard] - before
            pieces += [(base + begin * joined, before * joined), (base, (taken[shard] - before) * joined)]
    return pieces


# --- tstdata: from documents to rows ------------------------------------------------------------------


def tokenize_and_concatenate(
    texts: list[str], tokenizer, eos_id: int, bos_id: int | None = None
) -> list[int]:
    ids = []
    for text in texts:
        ids += [] if bos_id is None else [bos_id]
        ids += tokenizer.encode(text, add_special_tokens=False).ids
        ids += [eos_id]
    return ids


def write_rows_with_mds_writer(out, rows, dtype: str, compression: str | None, size_limit: int) -> None:
    from streaming import MDSWriter

    column = {"tokens": f"ndarray:{dtype}:{rows.shape[1]}"}
    with MDSWriter(
        out=str(out), columns=column, compression=compression, hashes=["xxh64"], size_limit=size_limit
    ) as writer:
        for row in rows:
            writer.write({"tokens": row})


def read_rows_with_streaming(dataset) -> list[list[int]]:
    from plain_streaming import plain_streaming

    with plain_streaming(local=str(dataset), batch_size=1, shuffle=False) as stream:
        return [stream[index]["tokens"].tolist() for index in range(len(stream))]
