"""What a training has changed, and where it began."""

import copy
import math

import pytest
import torch

import lmkit
from lmkit.config import Config, ModelConfig
from lmkit.errors import ConfigError
from lmkit.inspection.change import parameter_change
from lmkit.inspection.untrained import untrained_twin
from lmkit.model.language_model import LanguageModel
from lmkit.text.tokenizers.character import CharacterTokenizer
from tests.inspection.cells import close

V = 11


def test_the_change_of_each_part_is_the_norm_over_its_parameters(random_model):
    model = random_model("lstm", V, num_layers=2, tie_embeddings=True)
    after = copy.deepcopy(model)
    with torch.no_grad():
        after.cells[1].weight_hh_l0[0, 0] += 3
        after.cells[1].bias_ih_l0[2] -= 4
        after.embedding.weight[1, 1] += 2
    found = {one.part: one for one in parameter_change(model, after)}
    assert list(found) == ["head", "layers.1", "layers.0", "embedding"]
    close([one.change for one in found.values()], [2, 5, 0, 2], 1e-6)
    whole = math.sqrt(sum(float(value.detach().double().square().sum()) for value in model.cells[1].parameters()))
    close(found["layers.1"].relative, 5 / whole, 1e-6)
    with pytest.raises(ConfigError, match="different shapes"):
        parameter_change(model, random_model("gru", V, num_layers=2, tie_embeddings=True))


@pytest.mark.parametrize("options", [{"cell": "irnn"}, {"cell": "gru", "head": "adaptive", "cutoffs": (4,)}], ids=str)
def test_the_untrained_twin_has_the_values_that_its_seed_gives(options):
    torch.manual_seed(Config().runtime.seed)
    order = torch.randperm(V, generator=torch.Generator().manual_seed(2)) if "head" in options else None
    model = LanguageModel(ModelConfig(hidden_size=8, **options), V, order)
    trained = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1)
    before = torch.get_rng_state()
    twin = untrained_twin(trained, Config().runtime.seed)
    assert torch.get_rng_state().equal(before)
    assert all(value.equal(twin.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_run_is_compared_with_the_first_weights_that_it_had():
    tokenizer, config = CharacterTokenizer.train(["abc"]), Config().override({"seed": 1, "init_seed": 5})
    model = LanguageModel(ModelConfig(hidden_size=8), tokenizer.vocab_size)
    torch.manual_seed(5)
    first = LanguageModel(model.config, tokenizer.vocab_size)
    twin = lmkit.TrainedModel(model, tokenizer, config).inspect.untrained
    assert all(value.equal(twin.state_dict()[name]) for name, value in first.state_dict().items())
