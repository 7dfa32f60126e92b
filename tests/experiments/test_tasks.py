"""Tasks of tensors: what they ask, their chance, and the network that is trained on them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lmkit.errors import ConfigError
from lmkit.experiments.tasks.adding import CHANCE, Adding
from lmkit.experiments.tasks.reader import Reader
from lmkit.experiments.tasks.recall import DelayedRecall
from lmkit.experiments.tasks.training import TaskTraining, train_on
from lmkit.model.cells import CELLS
from lmkit.text.sources.generated import Recall


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("length", [2, 3, 20])
def test_the_target_is_the_sum_of_one_marked_number_in_each_half(length):
    inputs, targets = Adding(length).batch(40, drawn(1))
    assert inputs.shape == (length, 40, 2)
    for row in range(40):
        (first, second) = [step for step in range(length) if inputs[step, row, 1] == 1]
        assert first < length // 2 <= second
        assert targets[row] == inputs[first, row, 0] + inputs[second, row, 0]
    assert set(inputs[:, :, 1].unique().tolist()) <= {0.0, 1.0}


def test_every_place_of_a_half_is_marked_at_some_time():
    marks = Adding(5).batch(400, drawn(2)).inputs[:, :, 1]
    assert (marks.sum(dim=1) > 50).all()


def test_chance_in_adding_is_the_integral_of_the_squared_error_of_the_best_constant():
    points = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    sums = points[:, None] + points[None, :]
    assert sums.mean().item() == pytest.approx(1.0)
    assert (sums - 1).square().mean().item() == pytest.approx(CHANCE, abs=1e-6)
    task = Adding(50)
    targets = task.batch(100_000, drawn(3)).targets
    assert task.error(torch.ones(100_000, 1), targets) == pytest.approx(CHANCE, abs=5 * 0.2 / 100_000**0.5)


def test_a_sequence_without_two_halves_is_refused():
    with pytest.raises(ConfigError, match="two numbers or more"):
        Adding(1)


def test_recall_asks_for_the_letter_that_the_line_of_the_corpus_asks_for():
    inputs, targets = DelayedRecall(3).batch(30, drawn(4))
    characters = Recall.letters + ".?"
    for row in range(30):
        read = "".join(characters[int(step.argmax())] for step in inputs[:, row])
        (item,) = [item for item in Recall(3).items() if item.context == read]
        assert item.right == Recall.letters[targets[row]]
    assert torch.equal(inputs.sum(dim=2), torch.ones(5, 30))


def test_chance_in_recall_is_one_letter_for_all():
    task = DelayedRecall(1)
    always = torch.zeros(1, 8).index_fill(1, torch.tensor([2]), 1.0)
    assert task.error(always.expand(8, 8), torch.arange(8)) == task.chance


@pytest.mark.parametrize("cell", CELLS)
def test_the_answer_of_any_cell_is_a_line_of_its_last_output(cell):
    model = Reader(cell, 2, 3, hidden_size=8, num_layers=2).eval()
    inputs, _ = Adding(6).batch(4, drawn(4))
    state = model.recurrent.initial_state(4)
    for step in inputs:
        output, state = model.recurrent(step[None], state)
    torch.testing.assert_close(model(inputs), model.output(output[0]), rtol=1e-4, atol=1e-5)
    assert model(inputs).shape == (4, 3)


@pytest.mark.parametrize(("task", "clip"), [(Adding(6), None), (DelayedRecall(4), 0.1)], ids=["adding", "recall"])
def test_training_is_adam_on_fresh_batches(task, clip):
    training = TaskTraining("irnn", 8, options={"recurrent_scale": 1.5}, max_steps=5, eval_every=2, clip=clip, seed=7)
    before = torch.random.get_rng_state()
    records = list(train_on(task, training))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [record.step for record in records] == [2, 4, 5]
    torch.manual_seed(7)
    model = Reader("irnn", task.input_size, task.output_size, hidden_size=8, options={"recurrent_scale": 1.5})
    data = drawn(7)
    optimizer = torch.optim.Adam(model.parameters(), lr=training.lr)
    for _ in range(5):
        inputs, targets = task.batch(training.batch_size, data)
        optimizer.zero_grad()
        output = model(inputs)
        recall = isinstance(task, DelayedRecall)
        loss = F.cross_entropy(output, targets) if recall else (output[:, 0] - targets).square().mean()
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        model.constrain()
    assert records[-1].loss == pytest.approx(loss.item(), rel=1e-5)
    inputs, targets = task.batch(training.eval_rows, drawn(2**40))
    assert records[-1].error == pytest.approx(task.error(model(inputs), targets), rel=1e-5)
