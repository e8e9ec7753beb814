"""Laws of models that are no Hugging Face models: a small adapter says where ids become embeddings."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from composer.models import ComposerModel
from tiny_models import BAG_SIZE, SEQ_LEN, VOCABULARY
from tiny_runs import BagRows, Rows, load, train

from composer_algo import BatchLayout, Head, ModelAdapter, TokenSuperposition, adapter, register_adapter

SWITCH, WIDTH = 2, 16


class Decoder(torch.nn.Module):
    """One block, learned positions and a tied head, as people write them by hand: it unpacks [B, T] ids."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.positions = torch.nn.Embedding(SEQ_LEN, WIDTH)
        self.block = torch.nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0.0, batch_first=True)

    def hidden(self, embeddings):
        length = embeddings.shape[1]
        causal = torch.nn.Transformer.generate_square_subsequent_mask(length)
        return self.block(embeddings + self.positions.weight[:length], src_mask=causal, is_causal=True)

    def forward(self, ids):
        _rows, _length = ids.shape
        return self.hidden(self.embedding(ids)) @ self.embedding.weight.T


class PlainModel(ComposerModel):
    ids, labels, shifted = "input_ids", "labels", False

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = Decoder()
        torch.nn.init.normal_(self.net.embedding.weight, std=0.02)

    def forward(self, batch):
        return self.net(batch[self.ids])

    def loss(self, outputs, batch):
        labels = batch[self.labels]
        if not self.shifted:
            outputs, labels = outputs[:, :-1], labels[:, 1:]
        return F.cross_entropy(outputs.flatten(0, 1), labels.flatten())


class PlainAdapter(ModelAdapter):
    def embedding(self):
        return self.model.net.embedding


class ShiftedModel(PlainModel):
    """Reads x and y, y being shifted already."""

    ids, labels, shifted = "x", "y", True


class ShiftedAdapter(PlainAdapter):
    layout = BatchLayout(ids="x", labels="y", labels_are_shifted=True)


@pytest.fixture(autouse=True)
def _register_for_one_test(monkeypatch):
    monkeypatch.setattr(adapter, "_ADAPTERS", dict(adapter._ADAPTERS))


def shifted(rows):
    ids = torch.stack(rows)
    return {"x": ids[:, :-1], "y": ids[:, 1:]}


class LongerBagRows(BagRows):
    """One token more than x has, so that y has its last one; what `seq_len` says is x's length."""

    def __getitem__(self, row):
        ids = super().__getitem__(row)
        return torch.cat([ids, ids[:1]])


def by_hand(batches):
    """The same run in a loop of its own, with the s cross-entropy calls of the paper's listing."""
    model, losses = PlainModel(), []
    net, optimizer = model.net, torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.95))
    for ids in batches:
        bags = ids.view(len(ids), SEQ_LEN, -1)
        hidden = net.hidden(net.embedding(bags).mean(dim=2))
        logits = (hidden @ net.embedding.weight.T)[:, :-1].flatten(0, 1)
        terms = [F.cross_entropy(logits, bags[:, 1:, i].flatten()) for i in range(bags.shape[-1])]
        loss = sum(terms) / len(terms)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_hand_written_model_trains_as_a_loop_of_its_own():
    register_adapter(PlainModel, PlainAdapter)
    data = BagRows(4, SWITCH)
    run = train(TokenSuperposition(), data, num_batches=4, model=PlainModel())
    batches = [torch.stack([data[4 * batch + row] for row in range(4)]) for batch in range(4)]
    assert run.losses == pytest.approx(by_hand(batches), rel=2e-5)


def test_model_that_reads_x_and_shifted_y_trains_on_the_same_targets():
    register_adapter(ShiftedModel, ShiftedAdapter)
    longer = load(LongerBagRows(4, SWITCH), collate_fn=shifted)
    run = train(TokenSuperposition(), longer, num_batches=4, model=ShiftedModel())
    register_adapter(PlainModel, PlainAdapter)
    plain = train(TokenSuperposition(), BagRows(4, SWITCH), num_batches=4, model=PlainModel())
    assert run.losses[0] == plain.losses[0]
    assert run.logged("superposition/phase") == [1, 1, 2, 2]


def test_adapter_of_the_nearest_class_counts():
    class Heir(PlainModel):
        pass

    register_adapter(PlainModel, PlainAdapter)
    assert type(adapter.adapter_for(Heir(), folds_inputs=True)) is PlainAdapter
    register_adapter(f"{Heir.__module__}.{Heir.__qualname__}", ShiftedAdapter)
    assert type(adapter.adapter_for(Heir(), folds_inputs=True)) is ShiftedAdapter


def test_adapter_may_name_the_head_so_that_no_logits_are_made():
    class Outputs(PlainModel):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(WIDTH, VOCABULARY, bias=False)

        def forward(self, batch):
            hidden = self.net.hidden(self.net.embedding(batch["input_ids"]))
            return {"logits": self.head(hidden)}

        def loss(self, outputs, batch):
            return super().loss(outputs["logits"], batch)

    class Adapter(PlainAdapter):
        def logits(self, outputs):
            return outputs["logits"]

        def head(self):
            return Head(self.model.head)

    register_adapter(Outputs, Adapter)
    losses = [
        train(TokenSuperposition(fused_loss=fused), BagRows(4, SWITCH), num_batches=4, model=Outputs()).losses
        for fused in (True, False)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_model_without_an_adapter_is_refused_with_what_to_register():
    with pytest.raises(ValueError, match=r"no adapter for .*PlainModel.*register_adapter\(PlainModel, "):
        train(TokenSuperposition(), BagRows(2, 1), model=PlainModel())


def test_embedding_that_forward_does_not_call_is_refused():
    class Wrong(PlainAdapter):
        def embedding(self):
            return self.model.net.positions

    # Of the vocabulary's size, or its ids would be refused first.
    model = PlainModel()
    model.net.positions = torch.nn.Embedding(VOCABULARY, WIDTH)
    register_adapter(PlainModel, Wrong)
    with pytest.raises((ValueError, IndexError), match=r"did not call that module|index out of range"):
        train(TokenSuperposition(), BagRows(2, 1), model=model)


def test_second_look_at_the_ids_fails_and_is_not_trained_wrongly():
    class Twice(PlainModel):
        def __init__(self):
            super().__init__()
            self.other = torch.nn.Embedding(VOCABULARY, VOCABULARY)

        def forward(self, batch):
            return super().forward(batch) + self.other(batch["input_ids"])

    register_adapter(Twice, PlainAdapter)
    with pytest.raises(IndexError, match="out of range"):
        train(TokenSuperposition(), BagRows(2, 1), model=Twice())


def test_logits_of_another_shape_are_refused_on_the_first_superposed_batch():
    class Flat(PlainAdapter):
        def logits(self, outputs):
            return outputs[..., :WIDTH]

    register_adapter(PlainModel, Flat)
    with pytest.raises(ValueError, match=rf"PlainModel returned logits of shape \[4, {SEQ_LEN}, {WIDTH}\]"):
        train(TokenSuperposition(), BagRows(2, 1), model=PlainModel())


def test_z_loss_that_an_adapter_tells_of_is_added():
    class Steadied(PlainAdapter):
        z_loss = 0.1

    def first_loss(kind):
        register_adapter(PlainModel, kind)
        return train(TokenSuperposition(), BagRows(2, 1), num_batches=1, model=PlainModel()).losses[0]

    bags = torch.stack([BagRows(2, 1)[row] for row in range(4)]).view(4, SEQ_LEN, BAG_SIZE)
    net = PlainModel().net
    with torch.no_grad():
        logits = net.hidden(net.embedding(bags).mean(dim=2)) @ net.embedding.weight.T
    added = 0.1 * logits[:, :-1].logsumexp(dim=-1).square().mean().item()
    assert first_loss(Steadied) == pytest.approx(first_loss(PlainAdapter) + added, rel=1e-5)


def test_output_only_needs_no_word_about_the_embedding_but_its_size():
    register_adapter(PlainModel, PlainAdapter)
    algorithm = TokenSuperposition(BAG_SIZE, "2ba", mode="output_only", weighting="first_token")
    run = train(algorithm, Rows(4), num_batches=4, model=PlainModel())
    plain = train(None, Rows(4), num_batches=4, model=PlainModel())
    # All weight on the first token: ordinary next-token training, by another way.
    assert run.losses == pytest.approx(plain.losses, rel=1e-4)
