"""What a file of weights holds: the tensors of a model by their names, and their shapes without the model's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lmkit.config import ModelConfig
from lmkit.model.language_model import LanguageModel

__all__ = ["shape_model", "shapes_of", "stored_shapes", "stored_tensors", "without_memory"]

N = TypeVar("N", bound=nn.Module)


def stored_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with a tied weight under its first name only: what a file of weights holds."""
    names = {id(tensor): name for name, tensor in reversed(list(model.named_parameters(remove_duplicate=False)))}
    first = set(names.values()) | {name for name, _ in model.named_buffers()}
    return {name: tensor for name, tensor in model.state_dict().items() if name in first}


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of ``stored_tensors``."""
    return {name: tuple(tensor.shape) for name, tensor in stored_tensors(model).items()}


def stored_shapes(config: ModelConfig, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """The shapes of ``stored_tensors`` of a language model, known without memory for it."""
    return shapes_of(shape_model(config, vocab_size))


def shape_model(config: ModelConfig, vocab_size: int) -> LanguageModel:
    """A language model of tensors that have a shape and no content, however large it is."""
    return without_memory(lambda: LanguageModel(config, vocab_size))


def without_memory(make: Callable[[], N]) -> N:
    """A network of tensors that have a shape and no content."""
    with torch.device("meta"), _Unfilled():
        return make()


class _Unfilled(TorchFunctionMode):
    """Nothing is filled in: on the meta device that has no effect, but it makes torch import its compiler, which takes
    seconds.
    """

    MADE: ClassVar[dict[Callable[..., Any], Callable[..., Tensor]]] = {
        torch.arange: lambda end: torch.empty(end, dtype=torch.int64),
        torch.argsort: lambda values: values,
        torch.linspace: lambda start, end, steps: torch.empty(steps),
        torch.zeros: torch.empty,
        torch.ones: torch.empty,
        torch.eye: lambda *size, out, **options: out,
    }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.MADE:
            return self.MADE[func](*args, **(kwargs or {}))
        name = func.__name__
        if name == "__setitem__":
            return None
        if name.endswith("_") and not name.endswith("__"):  # normal_, uniform_, fill_
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))
