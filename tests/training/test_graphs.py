"""When a step is recorded as a graph and when a graph is used; what a graph computes needs a GPU: tests/test_gpu.py."""

from contextlib import nullcontext
from unittest.mock import Mock

import torch

from lmkit.model.marks import PLAIN, Marks
from lmkit.training import graphs
from lmkit.training.graphs import StepGraphs, StepInputs


def given(rows, length):
    tokens = torch.zeros(rows, length, dtype=torch.long)
    return StepInputs(tokens, tokens, ((torch.zeros(rows, 4),),), torch.tensor(1.0), torch.tensor(0.1))


def test_each_shape_is_recorded_once_after_it_was_seen_and_again_after_clear(monkeypatch):
    recorded, computed = [], []

    class Recorder:
        def __init__(self, inputs, compute):
            recorded.append(tuple(inputs.tokens.shape))

        def replay(self, inputs):
            return torch.zeros(4), inputs.state

    monkeypatch.setattr(graphs, "_Graph", Recorder)
    steps = StepGraphs()

    def compute(inputs):
        computed.append(tuple(inputs.tokens.shape))
        return torch.zeros(4), inputs.state

    for _ in range(5):
        for length in (7, 9):
            steps.run(given(2, length), compute)
    assert recorded == [(2, 7), (2, 9)]
    assert sorted(computed) == [(2, 7)] * 3 + [(2, 9)] * 3
    steps.clear()
    for _ in range(5):
        steps.run(given(2, 7), compute)
    assert recorded == [(2, 7), (2, 9), (2, 7)]


def test_windows_of_one_shape_that_are_computed_otherwise_have_graphs_of_their_own(monkeypatch):
    monkeypatch.setattr(graphs, "WARM_UP", 0)
    recorded = []

    class Recorder:
        def __init__(self, inputs, compute):
            recorded.append(inputs.window[3:])

        def replay(self, inputs):
            return torch.zeros(4), inputs.state

    monkeypatch.setattr(graphs, "_Graph", Recorder)
    steps = StepGraphs()
    for marks in (PLAIN, Marks(advance=3), Marks(borders=(3,)), Marks(advance=3), PLAIN):
        steps.run(given(2, 7)._replace(marks=marks), Mock())
    assert recorded == [(), (Marks(advance=3),), (Marks(borders=(3,)),)]


def test_a_training_keeps_few_graphs(monkeypatch):
    monkeypatch.setattr(graphs, "MAX_GRAPHS", 2)
    monkeypatch.setattr(graphs, "WARM_UP", 0)
    recorded = Mock()
    monkeypatch.setattr(graphs, "_Graph", recorded)
    steps = StepGraphs()
    computed = Mock()
    for length in (1, 2, 3):
        steps.run(given(1, length), computed)
    assert recorded.call_count == 2
    computed.assert_called_once()


def test_a_graph_reads_its_inputs_where_it_was_recorded(monkeypatch):
    graph = Mock()
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: nullcontext())
    first = given(2, 3).on_device()
    recorded = graphs._Graph(first, lambda inputs: (torch.ones(4), inputs.state))
    second = first._replace(tokens=torch.full((2, 3), 7), lr=torch.tensor(0.5), state=((torch.ones(2, 4),),))
    addresses = [one.data_ptr() for one in recorded.given.tensors()]
    metrics, after = recorded.replay(second)
    assert [one.data_ptr() for one in recorded.given.tensors()] == addresses
    assert all(mine.equal(other) for mine, other in zip(recorded.given.tensors(), second.tensors(), strict=True))
    assert first.tokens.eq(0).all() and first.state[0][0].eq(0).all(), "what was recorded is a copy"
    graph.replay.assert_called_once()
    assert metrics.tolist() == [1, 1, 1, 1] and after[0][0].data_ptr() in addresses
