"""State: a value whose rows are independent."""

import pytest
import torch

from lmkit.model import state as states

# two layers of an LSTM, three rows, two units
STATE = tuple(
    tuple(torch.arange(6.0).reshape(3, 2) + 100 * layer + 10 * part for part in range(2)) for layer in range(2)
)


def reset_to_zero(state, rows):
    return states.reset(state, rows, states.map_state(torch.zeros_like, state))


def test_reset_touches_only_its_rows():
    after = reset_to_zero(STATE, torch.tensor([False, True, False]))
    for layer, layer_after in zip(STATE, after, strict=True):
        for tensor, tensor_after in zip(layer, layer_after, strict=True):
            assert tensor_after[1].tolist() == [0, 0]
            assert tensor_after[[0, 2]].equal(tensor[[0, 2]])


def test_reset_of_no_row_and_of_all_rows():
    assert reset_to_zero(STATE, torch.tensor([False] * 3))[1][1].equal(STATE[1][1])
    assert not any(tensor.any() for layer in reset_to_zero(STATE, torch.tensor([True] * 3)) for tensor in layer)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_reset_clears_what_is_not_finite(value):
    broken = ((torch.tensor([[value], [1.0]]),),)
    assert reset_to_zero(broken, torch.tensor([True, False]))[0][0].tolist() == [[0], [1]]


def test_reset_leaves_its_argument_and_its_gradient_as_they_were():
    h = torch.ones(2, 3, requires_grad=True)
    (after,), *_ = reset_to_zero(((h,),), torch.tensor([True, False]))
    after.sum().backward()
    assert h.tolist() == [[1] * 3] * 2
    assert h.grad is not None
    assert h.grad.tolist() == [[0] * 3, [1] * 3]


def test_integer_memories_are_reset_in_their_own_type():
    (after,), *_ = reset_to_zero(((torch.tensor([[3], [4]]),),), torch.tensor([True, False]))
    assert after.dtype == torch.int64
    assert after.tolist() == [[0], [4]]


def test_rows_are_reset_to_what_is_given_in_the_type_that_they_have():
    (after,), *_ = states.reset(
        ((torch.ones(2, 1, dtype=torch.bfloat16),),), torch.tensor([True, False]), ((torch.tensor([[5.0], [6.0]]),),)
    )
    assert after.dtype == torch.bfloat16
    assert after.tolist() == [[5], [1]]


def test_another_precision_leaves_integers_as_they_are():
    (h, count), *_ = states.cast(((torch.ones(2, 1), torch.tensor([3, 4])),), torch.float64)
    assert (h.dtype, count.dtype) == (torch.float64, torch.int64)
    assert count.tolist() == [3, 4]


def test_a_memory_of_more_dimensions_is_reset_by_rows():
    (after,), *_ = reset_to_zero(((torch.ones(2, 3, 4),),), torch.tensor([False, True]))
    assert after.sum((1, 2)).tolist() == [12, 0]


def test_detach_keeps_values_and_cuts_the_graph():
    h = torch.ones(2, 3, requires_grad=True)
    (cut,), *_ = states.detach(((h * 2,),))
    assert not cut.requires_grad
    assert cut.tolist() == [[2] * 3] * 2


def test_select_takes_rows_in_the_order_given():
    chosen = states.select(STATE, torch.tensor([2, 0, 2, 1]))
    assert chosen[1][0].tolist() == [[104, 105], [100, 101], [104, 105], [102, 103]]


def test_repeat_keeps_copies_of_a_row_together():
    assert states.repeat(STATE, 2)[0][1].tolist() == [[10, 11], [10, 11], [12, 13], [12, 13], [14, 15], [14, 15]]


def test_map_state_keeps_the_structure():
    mapped = states.map_state(lambda tensor: tensor + 1, STATE)
    assert [len(layer) for layer in mapped] == [2, 2]
    assert mapped[1][1].equal(STATE[1][1] + 1)
