"""The GRU and the plain network over a whole window, with their gradients written out: what trains them on a CPU.

torch computes both as a loop of small operations. Autograd remembers each of them, and on the way back adds the
gradient of the recurrent matrix up step by step. Here a step is one or two products and a few operations in place, and
the gradient of each matrix is one product after all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

__all__ = ["NONLINEARITIES", "Weights", "gru", "rnn"]

ROWS_AT_ONCE = 256  # rows of steps whose factors are computed at a time: they stay in the cache

aten = torch.ops.aten
# in place on a sum; and from the gradient of the value and the value to that of the sum, into ``out``
NONLINEARITIES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "tanh": (torch.tanh_, lambda grad, value, out: aten.tanh_backward.grad_input(grad, value, grad_input=out)),
    "relu": (torch.relu_, lambda grad, value, out: aten.threshold_backward.grad_input(grad, value, 0, grad_input=out)),
    "sigmoid": (torch.sigmoid_, lambda grad, value, out: aten.sigmoid_backward.grad_input(grad, value, grad_input=out)),
}


class Weights(NamedTuple):
    """Of one layer, its G gates stacked: matrices (G H, E) and (G H, H), biases (G H,) each."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor


def gru(inputs: Tensor, start: Tensor, weights: Weights) -> Tensor:
    """h_1 ... h_T (T, B, H) of a GRU whose gates are stacked in the order r, z, n, from inputs (T, B, E) and h_0
    (B, H).

    Under autocast products run in its precision, and gates and states are float32. Gradients are of the first order.
    """
    return _apply(_Gru, inputs, start, weights)


def rnn(inputs: Tensor, start: Tensor, weights: Weights, nonlinearity: str) -> Tensor:
    """h_1 ... h_T (T, B, H) of a plain network, in the precisions of ``gru``."""
    return _apply(_Rnn, inputs, start, weights, nonlinearity)


class _Gru(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, start: Tensor, *rest: Any) -> Tensor:
        *given, low = rest
        weights, wide = Weights(*given), torch.promote_types(low, torch.float32)
        size = start.shape[1]
        bias, candidate_bias = _gru_biases(weights, size)
        low_inputs, weight_ih, weight_hh = (one.to(low) for one in (inputs, weights.weight_ih, weights.weight_hh))
        gates_TBG = F.linear(low_inputs, weight_ih, bias.to(low)).to(wide)
        seen_TBH, outputs_TBH = (gates_TBG.new_empty(*inputs.shape[:2], size) for _ in range(2))
        to_gates, to_candidate = weight_hh.t().contiguous().split((2 * size, size), dim=1)
        h = start = start.to(wide)
        views = gates_TBG[..., : 2 * size], *gates_TBG.split(size, dim=2), seen_TBH, outputs_TBH
        for gates, reset, update, candidate, seen, output in _steps(*views):
            _add_product(gates, h, to_gates, out=gates).sigmoid_()
            _add_product(candidate_bias, h, to_candidate, out=seen)
            candidate.addcmul_(reset, seen).tanh_()
            h = torch.lerp(candidate, h, update, out=output)
        ctx.save_for_backward(low_inputs, start, weight_ih, weight_hh, gates_TBG, seen_TBH, outputs_TBH)
        ctx.kinds = [one.dtype for one in (inputs, start, *weights)]
        return outputs_TBH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, start, weight_ih, weight_hh, gates_TBG, seen_TBH, outputs_TBH = ctx.saved_tensors
        rows, size = start.shape
        sums_TBG, candidates_TBH = torch.empty_like(gates_TBG), torch.empty_like(outputs_TBH)
        carry = torch.zeros_like(start)
        for part in _parts(len(grad), max(1, ROWS_AT_ONCE // max(1, rows))):
            before = start if part.start == 0 else outputs_TBH[part.start - 1]
            views = (grad, gates_TBG, seen_TBH, outputs_TBH, sums_TBG, candidates_TBH)
            carry = _gru_part(carry, before, weight_hh, *(view[part] for view in views))
        low_sums, bias_hh = sums_TBG.to(weight_hh.dtype), sums_TBG.sum((0, 1))
        grad_hh = _of_recurrent_matrix(low_sums, start, outputs_TBH)
        # the sums of r and z take what comes from the input and from the state alike, that of n does not
        low_sums[..., 2 * size :] = candidates_TBH
        bias_ih = torch.cat([bias_hh[: 2 * size], candidates_TBH.sum((0, 1))])
        of_inputs = _of_inputs(ctx, low_sums, inputs, weight_ih)
        return *_as_given(ctx, of_inputs[0], carry, of_inputs[1], grad_hh, bias_ih, bias_hh), None


def _gru_biases(weights: Weights, size: int) -> tuple[Tensor, Tensor]:
    """What is added to the projected inputs, and what to the candidate's product with the state."""
    gates, candidate = weights.bias_hh.split((2 * size, size))
    return weights.bias_ih + F.pad(gates, (0, size)), candidate


def _gru_part(
    carry: Tensor,
    start: Tensor,
    weight_hh: Tensor,
    grad: Tensor,
    gates: Tensor,
    seen: Tensor,
    outputs: Tensor,
    sums: Tensor,
    candidates: Tensor,
) -> Tensor:
    """Some steps backwards, from the gradient of the last one's state, as far as later steps give it: that of the state
    before the first. Fills in the gradients of what the state's products give, ``sums``, and of the candidate's sum.

    All that multiplies the gradient of a step's state is known beforehand, so it is computed for all steps at once.
    """
    (reset, update, candidate), (to_reset, to_update, to_seen) = (one.split(start.shape[1], 2) for one in (gates, sums))
    tanh, sigmoid = NONLINEARITIES["tanh"][1], NONLINEARITIES["sigmoid"][1]
    states = torch.empty_like(outputs)
    tanh(torch.sub(1, update, out=candidates), candidate, candidates)
    torch.mul(candidates, reset, out=to_seen)
    sigmoid(torch.mul(candidates, seen, out=states), reset, to_reset)
    sigmoid(torch.cat([start[None], outputs[:-1]]).sub_(candidate), update, to_update)
    stacked = sums.unflatten(2, (3, -1))
    for of_output, of_sums, factors, share, state in _backwards(grad, sums, stacked, update, states):
        torch.add(of_output, carry, out=state)
        factors.mul_(state.unsqueeze(1))
        carry = torch.mul(state, share)
        _add_product(carry, of_sums, weight_hh, out=carry)
    candidates.mul_(states)
    return carry


class _Rnn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, start: Tensor, *rest: Any) -> Tensor:
        *given, low, nonlinearity = rest
        weights, wide = Weights(*given), torch.promote_types(low, torch.float32)
        low_inputs, weight_ih, weight_hh = (one.to(low) for one in (inputs, weights.weight_ih, weights.weight_hh))
        outputs_TBH = F.linear(low_inputs, weight_ih, (weights.bias_ih + weights.bias_hh).to(low)).to(wide)
        function, matrix = NONLINEARITIES[nonlinearity][0], weight_hh.t().contiguous()
        h = start = start.to(wide)
        for output in outputs_TBH.unbind():
            h = function(_add_product(output, h, matrix, out=output))
        ctx.save_for_backward(low_inputs, start, weight_ih, weight_hh, outputs_TBH)
        ctx.kinds, ctx.derivative = [one.dtype for one in (inputs, start, *weights)], NONLINEARITIES[nonlinearity][1]
        return outputs_TBH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, start, weight_ih, weight_hh, outputs_TBH = ctx.saved_tensors
        sums_TBH, carry = torch.empty_like(outputs_TBH), torch.zeros_like(start)
        for of_output, output, of_sum in _backwards(grad, outputs_TBH, sums_TBH):
            ctx.derivative(torch.add(of_output, carry, out=of_sum), output, of_sum)
            carry = (of_sum.to(weight_hh.dtype) @ weight_hh).to(start.dtype)
        low_sums, bias = sums_TBH.to(weight_hh.dtype), sums_TBH.sum((0, 1))
        grad_hh = _of_recurrent_matrix(low_sums, start, outputs_TBH)
        of_inputs = _of_inputs(ctx, low_sums, inputs, weight_ih)
        return *_as_given(ctx, of_inputs[0], carry, of_inputs[1], grad_hh, bias, bias), None, None


def _apply(
    function: type[torch.autograd.Function], inputs: Tensor, start: Tensor, weights: Weights, *options: str
) -> Tensor:
    """The function with products in the precision of autocast, which changes nothing inside."""
    low = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weights.weight_hh.dtype
    with torch.autocast("cpu", enabled=False):
        return cast(Callable[..., Tensor], function.apply)(inputs, start, *weights, low, *options)


def _steps(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(one.unbind() for one in tensors), strict=True)


def _backwards(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(reversed(one.unbind()) for one in tensors), strict=True)


def _parts(num_steps: int, size: int) -> Iterator[slice]:
    """The steps in parts of a size, the last ones first."""
    for begin in reversed(range(0, num_steps, size)):
        yield slice(begin, begin + size)


def _add_product(addend: Tensor, rows: Tensor, matrix: Tensor, *, out: Tensor) -> Tensor:
    """addend + rows @ matrix, into ``out``, which may be the addend; the product in the precision of the matrix."""
    if rows.dtype == matrix.dtype:
        return torch.addmm(addend, rows, matrix, out=out)
    return torch.add(addend, rows.to(matrix.dtype) @ matrix, out=out)


def _of_recurrent_matrix(sums: Tensor, start: Tensor, outputs: Tensor) -> Tensor:
    """The gradient of the matrix (G H, H) from that of its products (T, B, G H)."""
    first, before = (one.to(sums.dtype) for one in (start, outputs[:-1]))
    return sums[1:].flatten(0, 1).t() @ before.flatten(0, 1) + sums[0].t() @ first


def _of_inputs(ctx: Any, sums: Tensor, inputs: Tensor, weight: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of the inputs (T, B, E) and of their matrix (G H, E), from that of their products (T, B, G H):
    those that are wanted.
    """
    sums = sums.flatten(0, 1)
    of_inputs = (sums @ weight).view_as(inputs) if ctx.needs_input_grad[0] else None
    return of_inputs, sums.t() @ inputs.flatten(0, 1) if ctx.needs_input_grad[2] else None


def _as_given(ctx: Any, *gradients: Tensor | None) -> Iterator[Tensor | None]:
    """Gradients in the types of what they are of."""
    return (None if one is None else one.to(kind) for one, kind in zip(gradients, ctx.kinds, strict=True))
