"""Experiment: whether the class of a word can be read from the state."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lmkit.api import TrainedModel
from lmkit.experiments.contract.arm import Arm, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict, decide, together
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import arms_table, comparisons_table, shown
from lmkit.inspection import fit_probe, untrained_twin
from lmkit.inspection.memory.memory import read_states
from lmkit.model.language_model import LanguageModel
from lmkit.plots.charts import Bar, Bars, Chart
from lmkit.text.sources.generated import Grammar
from lmkit.text.sources.generated.grammar import WORDS

__all__ = ["WordClasses"]

CLASSES = tuple(WORDS)
AMBIGUOUS = frozenset(
    word for words in WORDS.values() for word in words if sum(word in one for one in WORDS.values()) > 1
)
LEAST = 0.05  # of the words
TRAINED, UNTRAINED, ALONE = "lstm, trained", "lstm, untrained", "the word alone"
COMPARED = [(TRAINED, ALONE), (TRAINED, UNTRAINED)]
TEXT_SEED = 1  # the text that is trained on has another


class WordClasses(Experiment):
    name = "word-classes"
    title = "Classes of words in the state"
    claims = (32,)
    question = "Does the state hold the class of a word, beyond what the word itself tells?"
    rule = (
        "LSTMs learn the sentences of a grammar in which some words are of two classes (saw, felt, cut, hit, fast, "
        "hard), which only what stands before tells apart. In text that they were not trained on a linear probe reads "
        "the class of the newest word from the state; what counts is its error on the words of two classes, in text "
        "on which the probe was not fitted. Controls are the same probe of networks that were not trained, the word "
        "alone, by its most frequent class, and, shown and not judged, a probe of shuffled classes. A difference "
        "matters from 5 % of these words on (Welch's test over seeds, Holm over two comparisons). Claim 32 holds if "
        "the probe of the trained network has that advantage over the word alone and over the untrained network; one "
        "of the two makes it partly so."
    )
    minutes = 3
    equal: ClassVar[Mapping[str, float]] = {}

    def arms(self, scale: Scale) -> Sequence[Arm]:
        rates = scale.pick(grid(lr=(1e-3, 3e-3, 1e-2)), grid(lr=(1e-2,)))
        return [
            Arm(TRAINED, {"max_steps": scale.pick(600, 4)}, rates),
            Arm(UNTRAINED, {"max_steps": 1}),
            Arm(ALONE, {"max_steps": 1}, seeded=False),
        ]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        width, window, rows = trial.scale.pick((64, 64, 16), (8, 16, 4))
        text = trial.scale.pick("grammar:200000", "grammar:3000")
        options = {"hidden_size": width, "window": window, "batch_size": rows, "dropout": 0.0, "tokenizer": "word"}
        run = train_language_model(trial, {"corpus": text, **options, **trial.options})
        if run.model is None or trial.tuning:
            return run.numbers
        words = LabelledWords.drawn(trial.scale.pick(20_000, 1_500))
        if trial.arm.name == ALONE:
            return {"error": words.error(words.usual_class())}
        model = run.model.model if trial.arm.name == TRAINED else untrained_twin(run.model.model, trial.seed)
        states = words.states(run.model, model)
        shuffled = words.classes[torch.randperm(len(words.classes), generator=torch.Generator().manual_seed(1))]
        found = {"error": words.probed(states, words.classes), "shuffled": words.probed(states, shuffled)}
        return {"test": run.numbers.get("test"), **found} if trial.arm.name == TRAINED else found

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        found = outcomes.compare(COMPARED, "error", paired=False)
        words = [decide(one.advantage, one.p_holm, LEAST) for one in found]
        errors = ", ".join(f"{arm.name} {shown(outcomes.mean(arm.name, 'error'), '.1%')}" for arm in outcomes.arms)
        because = (
            f"Errors on words of two classes: {errors}. The advantage over the word alone is "
            f"{shown(found[0].advantage, '.1%')} ({words[0]}), over the untrained network "
            f"{shown(found[1].advantage, '.1%')} ({words[1]})."
        )
        return [Verdict(32, together(words), because)]

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        columns = [
            ("error on words of two classes", "error", ".1%"),
            ("with shuffled classes", "shuffled", ".1%"),
            ("test, nats per word", "test", ".3f"),
        ]
        found = outcomes.compare(COMPARED, "error", paired=False)
        return [arms_table(outcomes, columns), comparisons_table(found, "share of the words")]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        means = {arm.name: outcomes.mean(arm.name, "error") for arm in outcomes.arms}
        bars = [Bar(name, one.value, one.low, one.high) for name, one in means.items()]
        return {"errors": Bars("The class of an ambiguous word", "share that is read wrong", bars)}


@dataclass(frozen=True)
class LabelledWords:
    """The words of a text of the grammar (N) with their classes (N,), of which the first two thirds are fitted to."""

    text: str
    words: tuple[str, ...]
    classes: Tensor

    @classmethod
    def drawn(cls, length: int) -> LabelledWords:
        """A text of whole lines."""
        text = Grammar().sample(length, TEXT_SEED)
        text = text[: text.rindex("\n") + 1]
        tags = list(Grammar().tags(text))
        return cls(text, tuple(tag.word for tag in tags), torch.tensor([CLASSES.index(tag.kind) for tag in tags]))

    @property
    def fitted(self) -> int:
        """How many words are fitted to."""
        return 2 * len(self.words) // 3

    def states(self, trained: TrainedModel, model: LanguageModel) -> Tensor:
        """What a network holds after each word, read as one stream: (N, D)."""
        eos_id, ids = trained.tokenizer.eos_id, trained.tokenizer.encode(self.text)
        read = read_states(model, torch.tensor([[eos_id, *ids.tolist()]]))[0, 1:]
        return read[torch.from_numpy(ids != eos_id)]

    def probed(self, states: Tensor, classes: Tensor) -> float:
        """The error of a probe that was fitted to these classes."""
        probe = fit_probe(states[: self.fitted], classes[: self.fitted], len(CLASSES))
        return self.error(probe.logits(states).argmax(dim=1))

    def usual_class(self) -> Tensor:
        """The most frequent class of each word: (N,)."""
        counts: dict[str, Counter[int]] = defaultdict(Counter)
        for word, kind in zip(self.words[: self.fitted], self.classes.tolist(), strict=False):
            counts[word][kind] += 1
        usual = {word: found.most_common(1)[0][0] for word, found in counts.items()}
        return torch.tensor([usual.get(word, 0) for word in self.words])

    def error(self, predicted: Tensor) -> float:
        """The share of the ambiguous words that are read wrong, beyond those that were fitted to."""
        asked = torch.tensor([word in AMBIGUOUS for word in self.words])
        asked[: self.fitted] = False
        return float((predicted != self.classes)[asked].double().mean())
