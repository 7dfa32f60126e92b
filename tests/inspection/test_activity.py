"""Gates, states and attention over a text, and the units that follow something in it."""

import numpy as np
import pytest
import torch

from lmkit.errors import DataError
from lmkit.inspection.activity.activity import Activity, read_activity
from lmkit.inspection.activity.attention import attention_by_lag
from lmkit.inspection.activity.following import units_that_follow
from lmkit.inspection.activity.quantities import inside_brackets, inside_quotes, position_in_line
from tests.inspection.cells import OPTIONS, close

V, T = 11, 9


@pytest.mark.parametrize("case", OPTIONS)
def test_values_are_those_of_the_trace_and_of_the_cells(random_model, case):
    name, options = OPTIONS[case]
    model = random_model(name, V, num_layers=2, **options).double().eval()
    tokens = torch.randint(V, (T,))
    found = read_activity(model, tokens, model.initial_state(1))
    states = {(one.layer, one.name): one.values for one in found if not one.is_gate}
    trace = model.trace(tokens[None], model.initial_state(1))
    for layer, (cell, outputs) in enumerate(zip(model.cells, trace.h, strict=True)):
        close(states[layer, "output"] if (layer, "output") in states else states[layer, "h"], outputs[0])
        if "c" in cell.state_names:
            close(states[layer, "c"], trace.c[layer][0])
    embedded = model.embedding(tokens)[:, None]
    first = {one.name: one.values for one in found if one.is_gate and one.layer == 0}
    for gate, values in model.cells[0].gates(embedded, model.initial_state(1)[0]).items():
        if gate != "attention":
            close(first[gate], values[:, 0].flatten(1))


def test_saturation_and_histogram_count_values():
    gate = Activity(0, "forget", True, np.array([[0.05, 0.5], [0.95, 0.6], [0.02, 0.99], [0.99, 1.0]]))
    below, above = gate.saturation
    assert (below.tolist(), above.tolist()) == ([0.5, 0.0], [0.5, 0.5])
    counts, edges = gate.histogram(4)
    assert (counts.tolist(), edges.tolist()) == ([2, 0, 2, 4], [0, 0.25, 0.5, 0.75, 1])
    state = Activity(0, "h", False, np.array([[-0.95, 0.0], [0.95, 0.91]]))
    assert state.bounds == (-0.9, 0.9)
    assert [shares.tolist() for shares in state.saturation] == [[0.5, 0.0], [0.5, 0.5]]
    assert state.histogram()[1][[0, -1]].tolist() == [-1, 1]
    wide = Activity(0, "c", False, np.array([[-7.0, 3.0]]))
    assert wide.histogram()[1][[0, -1]].tolist() == [-7, 3]
    assert wide.to_dict()["histogram"]["counts"][0] == 1


def slow_series(number, steps=400, seed=0):
    """Series that change slowly, as states do: (T, D)."""
    noise = np.random.default_rng(seed).normal(size=(steps, number))
    values = np.zeros_like(noise)
    for step in range(1, steps):
        values[step] = 0.97 * values[step - 1] + noise[step]
    return values


def test_a_unit_that_follows_is_found_among_many_that_do_not():
    labels = (slow_series(1, seed=7)[:, 0] > 0).astype(float)
    values = slow_series(60)
    values[:, 17] = -3 * labels + 0.1 * values[:, 17]
    values[:, 40] = 1.0  # does not vary
    found = units_that_follow(values, labels)
    moving = [unit for unit in range(60) if unit != 40]
    close(found.correlations[moving], [np.corrcoef(values[:, unit], labels)[0, 1] for unit in moving])
    assert found.correlations[40] == 0
    assert found.order[0] == 17
    assert found.p_values[17] == 1 / 200
    assert found.correlations[17] < -0.9


def test_of_many_slow_units_the_best_follows_nothing_by_chance():
    """The best of 60 has a correlation that one unit alone, with independent steps, would not have in a lifetime."""
    labels = (slow_series(1, seed=7)[:, 0] > 0).astype(float)
    found = units_that_follow(slow_series(60), labels)
    best = found.order[0]
    assert abs(found.correlations[best]) > 5 / np.sqrt(400)
    assert found.p_values[best] > 0.05
    assert abs(found.correlations[best]) < found.threshold


def test_the_control_takes_the_best_of_all_units_each_time():
    values, labels = slow_series(5), slow_series(1, seed=7)[:, 0]
    alone = [units_that_follow(values[:, [unit]], labels) for unit in range(5)]
    together = units_that_follow(values, labels)
    close(together.shifted, np.max([one.shifted for one in alone], axis=0))
    assert (together.p_values >= [one.p_values[0] for one in alone]).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [(np.ones(400), "the same at every token"), (np.ones(7), "one for each"), (None, "too short")],
)
def test_labels_that_say_nothing_are_refused(labels, message):
    values = slow_series(2) if labels is not None else slow_series(2)[:9]
    with pytest.raises(DataError, match=message):
        units_that_follow(values, np.arange(9.0) if labels is None else labels)


def test_quantities_are_what_stands_after_each_token():
    assert inside_quotes(list('a"b" “c”"')).tolist() == [0, 1, 1, 0, 0, 1, 1, 0, 1]
    assert inside_brackets(["f(", "[x", "])", ")", "y{"]).tolist() == [1, 2, 0, 0, 1]
    assert position_in_line(["ab", "c\n", "d", "e\nfg", "\n"]).tolist() == [2, 0, 1, 2, 0]


@pytest.mark.parametrize(("cell", "options"), [("transformer", {"context": 5, "heads": 2}), ("gru", {"attention": 5})])
def test_attention_by_lag_is_the_mean_over_the_steps_that_reach_so_far(random_model, cell, options):
    model = random_model(cell, V, **options).double()
    tokens = torch.randint(V, (2, T))
    for begun in (0, 3):
        with torch.no_grad():
            state = model.initial_state(2)
            state = model.features(torch.randint(V, (2, begun)), state)[1] if begun else state
            (weights,) = model.attention_weights(tokens, state)
        (found,) = attention_by_lag(model, tokens, state)
        assert found.layer == len(model.cells) - 1
        for head in range(weights.shape[1]):
            for lag in range(5):
                seen = weights[:, head, max(0, lag - begun) :, 4 - lag]
                close(found.weights[head, lag], seen.mean())
    short = attention_by_lag(model, tokens[:, :2], model.initial_state(2))[0]
    assert np.isnan(short.weights[:, 2:]).all()
    close(short.mean_lag, short.weights[:, 1] / short.weights[:, :2].sum(1))


def test_a_network_without_attention_has_none(random_model):
    model = random_model("lstm", V)
    assert attention_by_lag(model, torch.randint(V, (1, 4)), model.initial_state(1)) == []
