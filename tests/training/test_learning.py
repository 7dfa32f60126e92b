"""Does it learn: one window by heart, the same first steps for ever, and a known source down to its entropy."""

import numpy as np
import pytest
import torch

from lmkit.evaluation.perplexity import evaluate
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.samplers import Window, stream_windows
from lmkit.text.generated import Markov
from lmkit.text.kinds import TOKENIZERS
from lmkit.training.step import train_step

CELLS = ["rnn", "irnn", "gru", "lstm"]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("head", ["full", "adaptive"])
def test_overfits_one_window(make_training, cell, head):
    cutoffs = (3, 7) if head == "adaptive" else None
    training = make_training(
        cell=cell, head=head, cutoffs=cutoffs, hidden_size=48, optimizer="adamw", lr=0.01, epochs=1
    )
    tokens = torch.randint(11, (2, 13))
    window = Window(tokens[:, :-1], tokens[:, 1:], torch.tensor([True, True]), 12)
    for _ in range(300):
        record = train_step(training.train, window, training.update, lr=0.01, targets_per_window=24.0)
    assert record.nll / record.tokens < 0.05


# float32 on one thread, torch 2.13
GOLDEN = {
    "rnn": [2.4699549674987793, 2.4761109352111816, 2.5279712677001953, 2.471895933151245, 2.4090449810028076],
    "irnn": [2.4849066734313965, 2.4768481254577637, 2.496859073638916, 2.449613571166992, 2.633638620376587],
    "gru": [2.4861979484558105, 2.4783854484558105, 2.5005064010620117, 2.4654781818389893, 2.4278385639190674],
    "lstm": [2.498009204864502, 2.4802112579345703, 2.4925148487091064, 2.4679720401763916, 2.4353911876678467],
}


@pytest.mark.parametrize("cell", CELLS)
def test_first_steps_are_golden(make_training, cell):
    training = make_training(cell=cell, num_layers=2, dropout=0.0, optimizer="sgd", lr=1.0, max_steps=5)
    losses = [record.nll / record.tokens for record in training.run()]
    assert losses == pytest.approx(GOLDEN[cell], rel=1e-4), (
        f"The first losses of {cell} are {losses!r}. If a change of the initialisation, the sampler, the loss or the "
        "update was meant, put these numbers into GOLDEN and say so in the commit; if not, it is a bug."
    )


def test_a_trained_model_approaches_and_never_beats_the_source(make_training):
    source = Markov()
    tokenizer = TOKENIZERS["char"].train([source.alphabet])
    text, unseen = source.sample(100_000, seed=1), source.sample(20_000, seed=2)
    training = make_training(
        stream=np.asarray(tokenizer.encode(text)),
        hidden_size=64,
        batch_size=64,
        window=16,
        optimizer="adamw",
        lr=0.02,
        epochs=None,
        max_steps=500,
    )
    for record in training.run():
        assert np.isfinite(record.nll)
    eos_id = training.train.model.embedding.num_embeddings - 1
    stream = tokenizer.encode(unseen)
    predictor = NetworkPredictor(training.train.model)
    found = evaluate(predictor, stream_windows(stream, eos_id=eos_id, window=1000, rows=20, warmup=100))
    truth = source.nll(unseen)
    assert found.tokens == len(unseen)
    assert truth < found.nll < 1.02 * truth
