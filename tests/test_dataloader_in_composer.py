"""The bag dataloader in Composer: every epoch to its end, and resuming from its checkpoints."""

import itertools

import pytest
import torch
from bag_loaders import BAG_SIZE, BATCH_SIZE, ROWS, SWITCH, attach_to, built_loaders, fingerprint, read
from composer import Algorithm, ComposerModel, Event, Trainer
from handmade_shards import SEQ_LEN, write_shards

# Streaming reads a shard that it checks the hash of without closing it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file <_io.BufferedReader name=.*shard:ResourceWarning"
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    torch.set_num_threads(1)
    return write_shards(tmp_path_factory.mktemp("shards") / "bags", ROWS)


@pytest.fixture
def build(shards, tmp_path):
    """Builds a loader over a fresh cache, its dataset attached unless told otherwise."""
    with built_loaders(shards, tmp_path) as build_one:
        yield build_one


class Recorder(ComposerModel):
    """The smallest model: it only notes what it is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, batch):
        self.seen.append(fingerprint(batch))
        return self.weight

    def loss(self, outputs, batch, *args):
        return outputs**2


class Attach(Algorithm):
    """What TokenSuperposition does for the dataset."""

    def match(self, event, state):
        return event in (Event.FIT_START, Event.EPOCH_START)

    def apply(self, event, state, logger):
        if event == Event.FIT_START:
            attach_to(state.train_dataloader.dataset)
        state.dataloader_len = len(state.train_dataloader)


def train(spec, duration, **arguments):
    """Trains; returns the batches seen, and the Trainer."""
    model = Recorder()
    trainer = Trainer(
        model=model,
        optimizers=torch.optim.SGD(model.parameters(), lr=0.1),
        train_dataloader=spec,
        max_duration=duration,
        algorithms=[Attach()],
        device="cpu",
        progress_bar=False,
        auto_log_hparams=False,
        loggers=[],
        **arguments,
    )
    trainer.fit()
    trainer.close()
    return trainer.state.model.seen, trainer


@pytest.mark.parametrize("duration", ["3ep", "40ba"])
def test_composer_trains_every_epoch_to_its_own_end(build, duration):
    seen, trainer = train(build(), duration)
    assert seen == list(itertools.chain(*read(build().dataloader, 3)))
    tokens = (SWITCH * BAG_SIZE + 40 - SWITCH) * BATCH_SIZE * SEQ_LEN
    assert (trainer.state.timestamp.batch, trainer.state.timestamp.token) == (40, tokens)
    assert trainer.state.timestamp.epoch == 3


# Said where a checkpoint is of an epoch's last batch: nothing is left of that epoch.
@pytest.mark.filterwarnings("ignore:No batches were trained for global rank")
@pytest.mark.parametrize(
    # In phase (i), at an epoch's end, in phase (i), at the switch, in phase (ii), at an epoch's end, later.
    ("num_workers", "places"),
    [(0, (2, 6, 7, 8, 9, 21, 30)), (2, (3, 8, 21))],
)
def test_composer_resumes_from_every_kind_of_checkpoint_to_exactly_the_tail(
    build, tmp_path, num_workers, places
):
    saves = {"save_folder": str(tmp_path / "saves"), "save_interval": "1ba", "save_filename": "ba{batch}.pt"}
    whole, _ = train(build(), "3ep", **saves)
    for batch in places:
        checkpoint = str(tmp_path / "saves" / f"ba{batch}.pt")
        seen, trainer = train(build(num_workers=num_workers), "3ep", load_path=checkpoint)
        assert seen == whole[batch:]
        assert trainer.state.timestamp.batch == 40
