"""The parts of a network by the names that people give them, and the parameters that belong to each."""

from __future__ import annotations

import re

from torch import nn

__all__ = ["named_parts", "parts_by_depth"]

IN_LAYER = re.compile(r"recurrent\.(?:layers|initial)\.(\d+)\.")
Parts = dict[str, list[nn.Parameter]]


def named_parts(model: nn.Module) -> Parts:
    """The parameters of a ``LanguageModel`` by part, from the top down: ``head``, ``attention`` where there is one,
    ``layers.N`` ... ``layers.0`` and ``embedding``. A tied matrix is among those of the embedding and of the head.
    """
    others: Parts = {"head": [], "attention": [], "embedding": []}
    layers: dict[int, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if layer := IN_LAYER.match(name):
            layers.setdefault(int(layer[1]), []).append(parameter)
        else:
            others[name.removeprefix("recurrent.").partition(".")[0]].append(parameter)
    embedding = {"embedding": others.pop("embedding")}
    from_the_top = {f"layers.{number}": layers[number] for number in sorted(layers, reverse=True)}
    return {name: found for name, found in (others | from_the_top | embedding).items() if found}


def parts_by_depth(model: nn.Module) -> list[list[nn.Parameter]]:
    """The same in groups from the top down, each parameter once: a tied matrix is the head's."""
    seen: set[nn.Parameter] = set()
    groups = []
    for parameters in named_parts(model).values():
        groups.append([parameter for parameter in parameters if parameter not in seen])
        seen |= set(parameters)
    return groups
