"""What ``lmkit.load`` and ``lmkit.train`` return: a trained model with its tokenizer, ready to measure, score and
sample.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, islice
from typing import Any, Unpack

import torch
from torch import Tensor

from lmkit.classify.trained import classifier_of
from lmkit.config import ClassifierConfig, Config
from lmkit.distributed.world import ALONE, World
from lmkit.errors import ConfigError, DataError, RunError
from lmkit.evaluation.adapters.adapters import Parts
from lmkit.evaluation.adapters.dynamic import gradient_squares
from lmkit.evaluation.adapters.levels import Adapted, check_rows, measure_stack
from lmkit.evaluation.adapters.tuning import TUNING_TOKENS, tune
from lmkit.evaluation.carried_state import read_carried_state
from lmkit.evaluation.caveats import state_caveat, worse_than_guessing
from lmkit.evaluation.measurement import Measurement, check_memory, evaluation_windows, measure, rows_read, watched
from lmkit.evaluation.ngram.arpa import read_arpa
from lmkit.evaluation.ngram.ngram import NgramModel
from lmkit.evaluation.options import DEFAULTS, AdapterSettings, EvalKeywords, EvalOptions
from lmkit.evaluation.perplexity import Evaluation
from lmkit.evaluation.predictor import NetworkPredictor, Predictor, Scorer
from lmkit.evaluation.scoring.lines import ScoredLine, scored_lines
from lmkit.evaluation.scoring.nbest import Hypothesis, Rescored, rescore
from lmkit.evaluation.scoring.reading import Report, ScoredBlock
from lmkit.evaluation.scoring.scoring import ScoredToken, score_text, scored_tokens
from lmkit.evaluation.scoring.words import ScoredWord, scored_words
from lmkit.evaluation.shared import SharedNetwork, check_can_share
from lmkit.generation.decoder import StepDecoder
from lmkit.generation.decoding import Decoding
from lmkit.generation.generate import Column, SharedColumns, generate, stream_text
from lmkit.hardware import choose_device
from lmkit.inspection.inspector import Inspector
from lmkit.model.int8 import is_quantized, quantized
from lmkit.model.language_model import LanguageModel
from lmkit.model.precision import choose_precision
from lmkit.run.directory import RunDirectory
from lmkit.run.stored import StoredRun, check_text_is_there
from lmkit.samplers import SequentialSampler, Window
from lmkit.text.corpus import Progress, build_corpus, encode_path, encode_split, encode_text
from lmkit.text.documents import EACH_LINE
from lmkit.text.sources.generated import known_entropy
from lmkit.text.token_file import TokenFile
from lmkit.text.tokenizers.tokenizer import StreamDecoder, Tokenizer

__all__ = ["ScoredToken", "TrainedModel", "load", "load_language_model"]

GRADIENT_ROWS, GRADIENT_WINDOWS = 20, 50
TOGETHER = 64  # texts that are computed at a time
ROUNDED = "The matrices of this model were rounded to eight bits (--decoder int8)."


class TrainedModel:
    """A language model with its tokenizer.

    model: the network (``lmkit.LanguageModel``), in evaluation mode. tokenizer: text to ids and back. config: the
    run's configuration. progress: set it to a function of (stage, share) that is to be called while a text is read or
    measured; the share is nan where it is unknown.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        config: Config,
        run: StoredRun | None = None,
        training_counts: Mapping[str, int] | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
        self.run = run
        self.training_counts = dict(training_counts or {})
        self.progress: Progress | None = None
        self._decoder: StepDecoder | None = None

    def __repr__(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        facts = [
            self.config.model.shape,
            f"{parameters:,} parameters",
            f"{self.tokenizer.kind} tokens",
            f"vocabulary {self.tokenizer.vocab_size:,}",
            *(() if self.run is None else (str(self.run.path), *_closing_perplexity(self.run))),
        ]
        return f"<TrainedModel: {', '.join(facts)}>"

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next(self.model.parameters()).device

    @property
    def inspect(self) -> Inspector:
        """What looks inside the network: gradients by lag, memory, gates, dynamics."""
        seed = self.config.runtime.weights_seed
        return Inspector(self.model, self.tokenizer, seed=seed, report=self._stage("inspecting"))

    @property
    def eval_state(self) -> str:
        """The state policy that evaluation defaults to: document for models trained with it, else carry."""
        return "document" if self.config.training.state_policy == "document" else "carry"

    def state_note(self, state: str | None, window: int | None = None) -> str | None:
        """What a reader must know where a text is read with another state policy (default: that of evaluation) than
        the model was trained with; None where it is the same.
        """
        trained, state = self.config.training.state_policy, state or self.eval_state
        return None if state == trained else state_caveat(trained, state, window)

    @property
    def stop_id(self) -> int | None:
        """The token that ends a written text: ``<eos>`` where documents end with it, None where texts do not end."""
        if self.tokenizer.eos_is_line_end:
            return self.tokenizer.eos_id if self.config.data.documents == "line" else None
        return self.tokenizer.eos_id if self.training_counts.get("documents", 2) > 1 else None

    def never_written(self, *, allow_unk: bool = False) -> list[int]:
        """Special tokens that a sample does not hold: ``<unk>``, unless it is allowed, and those that the training text
        does not have, whose small probability is an accident.
        """
        never = []
        if self.tokenizer.unk_id is not None and not (allow_unk and self.training_counts.get("oov") != 0):
            never.append(self.tokenizer.unk_id)
        if not self.tokenizer.eos_is_line_end and self.stop_id is None:
            never.append(self.tokenizer.eos_id)
        return never

    def quantized(self) -> TrainedModel:
        """This model with its matrices rounded to eight bits: it samples faster, and ``evaluate`` says what that costs.

        Raises ConfigError where the network is none that can be: it must be an LSTM, GRU or plain network on a CPU.
        """
        made = TrainedModel(quantized(self.model), self.tokenizer, self.config, self.run, self.training_counts)
        made.progress = self.progress
        return made

    def sample(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        decoding: Decoding | None = None,
        seed: int = 0,
        stream: int = 0,
        stop: str | Sequence[str] = (),
        allow_unk: bool = False,
        **rules: Any,
    ) -> str:
        """Continue the prompt by up to ``length`` tokens and return the new text.

        allow_unk: whether the text may hold ``<unk>``, which stands for words outside the vocabulary. ``rules`` are the
        fields of ``Decoding``: temperature, top_k, top_p, min_p. The text is a function of (prompt, decoding,
        allow_unk, seed, stream). Raises ConfigError for impossible rules.
        """
        how: dict[str, Any] = {"decoding": decoding, "seed": seed, "stream": stream, "stop": stop, **rules}
        return "".join(self.stream(prompt, length=length, allow_unk=allow_unk, **how))

    def stream(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        decoding: Decoding | None = None,
        seed: int = 0,
        stream: int = 0,
        stop: str | Sequence[str] = (),
        allow_unk: bool = False,
        **rules: Any,
    ) -> Iterator[str]:
        """The same text as ``sample``, in pieces as they are made: whole characters always."""
        how: dict[str, Any] = {"decoding": decoding, "seed": seed, "stop": stop, **rules}
        return next(self.streams(prompt, [stream], length=length, allow_unk=allow_unk, **how))

    def streams(
        self,
        prompt: str,
        streams: Sequence[int],
        *,
        length: int = 500,
        decoding: Decoding | None = None,
        seed: int = 0,
        stop: str | Sequence[str] = (),
        allow_unk: bool = False,
        **rules: Any,
    ) -> Iterator[Iterator[str]]:
        """The texts that ``stream`` gives for each of the streams, one after the other, in pieces. Up to 64 of them are
        computed together, as far as the first that is read needs it, which changes none of them and saves time.
        """
        if length < 1:
            raise ConfigError(f"--length must be at least 1, not {length}.")
        if decoding is not None and rules:
            raise ConfigError("Give either a Decoding or its fields, not both.")
        if not 0 <= seed < 2**63:
            raise ConfigError(f"--seed must be at least 0 and below 2^63, not {seed}.")
        stops = [stop] if isinstance(stop, str) else list(stop)
        if "" in stops:
            raise ConfigError("--stop must not be empty.")
        try:
            chosen = decoding or Decoding(**rules)
        except TypeError as error:
            raise ConfigError(f"Unknown decoding rule: {error}.") from error
        never = self.never_written(allow_unk=allow_unk)
        groups = [streams[start : start + TOGETHER] for start in range(0, len(streams), TOGETHER)]
        shared = ((SharedColumns(self._columns(prompt, chosen, seed, group, never)), group) for group in groups)
        rows = (columns.row(number, length) for columns, group in shared for number in range(len(group)))
        return (stream_text(ids, self._decoder_after(prompt), stops) for ids in rows)

    def evaluate(self, text: str, *, documents: str | None = None, **options: Unpack[EvalKeywords]) -> Evaluation:
        """Measure a text: nll in nats with all counts, from which every unit follows (``.perplexity``,
        ``.bits_per_byte``, ...).

        documents: what a document is (file, line or blank-line; default: as in training). options, with the defaults of
        ``EvalOptions``: state, carry (one unbroken stream), reset (every window from zero), document, or line (each
        line by itself, whatever ``documents`` is), by default as the model was trained; rows, parts of a carried stream
        that are read in parallel; warmup, tokens that each of them reads first; window, tokens computed at a time; and
        precision, float32 or bfloat16. Raises ConfigError for a value that is none of them.
        """
        chosen = EvalOptions(**options)
        data = self.config.data if documents is None else dataclasses.replace(self.config.data, documents=documents)
        rule = EACH_LINE if chosen.state == "line" else data.documents
        tokens = encode_text(self.tokenizer, text, documents=rule)
        return self.measure(tokens, chosen, split="text").evaluation

    def perplexity(self, text: str, *, documents: str | None = None, **options: Unpack[EvalKeywords]) -> float:
        """Perplexity of a text per token; options are those of ``evaluate``."""
        return self.evaluate(text, documents=documents, **options).perplexity

    def score(
        self,
        text: str,
        *,
        state: str | None = None,
        documents: str | None = None,
        entropy: bool = False,
        rank: bool = False,
        top_k: int = 0,
        window: int = DEFAULTS.window,
    ) -> list[ScoredToken]:
        """Every token of the text with its log-probability, the first one included.

        state: carry, document, or line (each line alone); documents: file (the text is one), line or blank-line; by
        default as the model was trained, as in ``evaluate``. The sum of the log-probabilities is minus the nll of
        ``evaluate`` with the same state and documents. entropy, rank, top_k: also the prediction's entropy, the token's
        rank in it, and the most probable tokens.
        """
        blocks = self.score_files(
            [[text]], state=state, documents=documents, entropy=entropy, rank=rank, top_k=top_k, window=window
        )
        return [token for scored in blocks for token in scored_tokens(scored, self.tokenizer)]

    def score_words(self, text: str, *, state: str | None = None, documents: str | None = None) -> list[ScoredWord]:
        """Every word and line end of the text with its log-probability, whatever the tokens are: those of a word are
        summed, with the correction of ``lmkit.evaluation.scoring.words``.
        """
        blocks = self.score_files([[text]], state=state, documents=documents, words=True)
        return list(scored_words(blocks, self.tokenizer))

    def score_lines(self, text: str, *, state: str | None = None, documents: str | None = None) -> list[ScoredLine]:
        """Every line of the text with its log-probability, words, tokens and perplexity; ``state="line"`` scores each
        by itself.
        """
        blocks = self.score_files([[text]], state=state, documents=documents)
        return list(scored_lines(blocks, self.tokenizer))

    def score_files(
        self,
        files: Iterable[Iterable[str]],
        *,
        state: str | None = None,
        documents: str | None = None,
        entropy: bool = False,
        rank: bool = False,
        top_k: int = 0,
        words: bool = False,
        window: int = DEFAULTS.window,
        report: Report | None = None,
        world: World = ALONE,
    ) -> Iterator[ScoredBlock]:
        """Texts of any length in constant memory, each given as chunks, by default as the model was trained; options
        are those of ``lmkit.evaluation.scoring.scoring.score_text``.
        """
        return score_text(
            NetworkPredictor(self.model),
            self.tokenizer,
            files,
            state=state or self.eval_state,
            documents=documents or self.config.data.documents,
            entropy=entropy,
            rank=rank,
            top_k=top_k,
            words=words,
            window=window,
            report=report,
            world=world,
        )

    def rescore(self, hypotheses: Sequence[Hypothesis], weight: float = 1.0, *, world: World = ALONE) -> list[Rescored]:
        """An n-best list with ``weight`` times the log-probability of each text added to its score, the best of each id
        first. world: processes that all call this and share the list.
        """
        network, report = NetworkPredictor(self.model), self._stage("rescoring")
        return rescore(network, self.tokenizer, hypotheses, weight, report, world)

    def features(self, text: str) -> Tensor:
        """The last layer's hidden vector after each token of the text (T, D), read from ``<eos>``: the model as an
        encoder.
        """
        if not text:
            raise DataError("The text is empty: there is nothing to encode.")
        ids = [self.tokenizer.eos_id, *self.tokenizer.encode(text).tolist()]
        predictor = NetworkPredictor(self.model)
        hidden, _ = predictor.features(torch.tensor([ids]), predictor.initial_state(1))
        return hidden[0, 1:]

    def measure(
        self,
        tokens: TokenFile,
        options: EvalOptions | None = None,
        *,
        split: str,
        predictor: Predictor[Any] | None = None,
        world: World = ALONE,
        **keywords: Unpack[EvalKeywords],
    ) -> Measurement:
        """Evaluate a token file with the model, or with another predictor over the same tokens.

        options: given as a whole, or their fields as keywords, as in ``evaluate``. world: processes that all call this
        and compute the model's rows together; each has the result. Raises ConfigError where options name test-time
        adapters, which ``adapt`` measures, or do not go with the tokens, and where a process has no row or another text
        or model than the first; DataError without tokens.
        """
        if options is not None and keywords:
            raise ConfigError("Give either EvalOptions or their fields, not both.")
        options = (options or EvalOptions(**keywords)).trained(self.eval_state)
        if options.adapters.used or options.adapters.tuned:
            raise ConfigError("Test-time adapters are measured by TrainedModel.adapt.")
        with world.together():
            check_memory(self.model, tokens, options)
            chosen: Scorer[Any] = predictor or NetworkPredictor(self.model, self._arithmetic(options.precision))
        if isinstance(chosen, NetworkPredictor) and not world.alone:
            check_can_share(self.model, tokens, rows_read(tokens, options), world)
            chosen = SharedNetwork(chosen, world)
        report = self._stage("measuring the text" if split == "-" else f"measuring {split}")
        tokens = self._with_known_entropy(tokens, split)
        found = measure(chosen, tokens, self.tokenizer, options, split=split, report=report)
        if predictor is not None:
            return found
        how = [ROUNDED] if is_quantized(self.model) else []
        return found.with_notes([*how, *self._faults_of_state(found, tokens)])

    def _with_known_entropy(self, tokens: TokenFile, split: str) -> TokenFile:
        """The tokens of a split with what is known of its text, where a known machine made it."""
        if self.run is None or self.run.record.split_hash(split) != tokens.sha256:
            return tokens
        corpus = self.run.record.values.get("corpus")
        ranges = corpus.get("ranges") if isinstance(corpus, dict) else None
        match ranges.get(split) if isinstance(ranges, dict) else None:
            case [int(begin), int(end)] if begin >= 0 and end - begin == tokens.counts.chars:
                return dataclasses.replace(tokens, known=known_entropy(self.config.data.corpus, begin, end))
        return tokens

    def _faults_of_state(self, found: Measurement, tokens: TokenFile) -> list[str]:
        """What the carried state has to do with a loss that no sound model has."""
        if not worse_than_guessing(found.evaluation, self.tokenizer.vocab_size):
            return []
        predictor = NetworkPredictor(self.model)
        carried = read_carried_state(predictor, tokens, self.tokenizer.eos_id, state=found.state)
        return [] if carried is None else carried.notes()

    def adapt(
        self, tokens: TokenFile, options: EvalOptions, *, split: str, others: Sequence[TrainedModel] = ()
    ) -> Adapted:
        """Measure the model with test-time adapters: every level of the stack in one pass over a token file, with what
        it gains and a confidence interval for that.

        ``options.adapters`` says which adapters are used; others: models to mix with, in equal shares where their
        weights are not given. Where the adapters are tuned, rates and weights are chosen on the validation split first,
        read as one row. Raises ConfigError for options that do not go together or a model of another tokenizer,
        RunError where a split is needed that is not there.
        """
        if is_quantized(self.model):
            raise ConfigError("Test-time adapters work on matrices in float32: leave out --decoder int8.")
        if options.adapters.tuned and not (options.adapters.used or others):
            raise ConfigError("--tune needs an adapter to tune: add --dynamic, --cache, --ngram, --arpa or --mix.")
        options = dataclasses.replace(
            options.trained(self.eval_state), adapters=_fitting(options.adapters, len(tokens), len(others))
        )
        check_rows(tokens, options)
        check_memory(self.model, tokens, options)
        parts = self.adapter_parts(options.adapters, others, precision=options.precision)
        tuned_here = False
        if options.adapters.tuned:
            _, valid = self.split_tokens("valid")
            tuned_here = tokens.sha256 == valid.sha256
            options = dataclasses.replace(options, adapters=self._tuned(parts, valid, options))
        tokens = self._with_known_entropy(tokens, split)
        report = self._stage(f"measuring {split}")
        found = measure_stack(parts, tokens, self.tokenizer, options, split=split, tuned_here=tuned_here, report=report)
        return dataclasses.replace(found, notes=[*found.notes, *self._faults_of_state(found.network, tokens)])

    def _tuned(self, parts: Parts, valid: TokenFile, options: EvalOptions) -> AdapterSettings:
        """The adapters' settings chosen on the validation split, read as one row."""
        # where the state is carried the window must not decide what is chosen
        window = options.window if options.policy == "reset" else DEFAULTS.window
        read = dataclasses.replace(options, rows=1, warmup=0, window=window)
        windows = partial(evaluation_windows, valid, self.tokenizer.eos_id, read)
        return tune(parts, options.adapters, self._passes(windows, len(valid)))

    def adapter_parts(
        self, settings: AdapterSettings, others: Sequence[TrainedModel] = (), *, precision: str = DEFAULTS.precision
    ) -> Parts:
        """What ``lmkit.evaluation.adapters.adapters`` stacks on this model.

        others: models to mix with. precision: in which the networks score. Raises ConfigError if one of the models has
        another tokenizer.
        """
        for other in others:
            if other.tokenizer.to_json() != self.tokenizer.to_json():
                raise ConfigError("Models that are mixed must have the same tokenizer: train them on the same text.")
        ngram, squares = None, None
        if settings.arpa is not None:
            ngram = read_arpa(settings.arpa, self.tokenizer, self._stage("reading n-grams"))
        if settings.dynamic or settings.ngram:
            _, train = self.split_tokens("train")
            squares = self._gradient_squares(train, settings.dynamic_span) if settings.dynamic else None
            ngram = self._ngram_model(train, settings.ngram) if settings.ngram else ngram
        kind = self._arithmetic(precision)
        mixed = tuple(NetworkPredictor(other.model, kind) for other in others)
        return Parts(self.model, squares, ngram, mixed, kind, f"{settings.ngram}-gram" if settings.ngram else "n-gram")

    def _gradient_squares(self, train: TokenFile, span: int) -> list[Tensor]:
        """Mean squares of the gradient over spans of the training text."""
        rows = min(GRADIENT_ROWS, len(train))
        sampler = SequentialSampler(train.ids, eos_id=self.tokenizer.eos_id, batch_size=rows, window=span)
        windows = islice(sampler.epoch(0), GRADIENT_WINDOWS)
        targets = min(len(train), GRADIENT_WINDOWS * rows * span)
        return gradient_squares(self.model, watched(windows, targets, self._stage("measuring gradients")))

    def _ngram_model(self, train: TokenFile, order: int) -> NgramModel:
        self._tell(f"counting {order}-grams", math.nan)
        vocab_size, eos_id = self.tokenizer.vocab_size, self.tokenizer.eos_id
        return NgramModel.train(train.ids, vocab_size=vocab_size, order=order, eos_id=eos_id)

    def _arithmetic(self, precision: str) -> torch.dtype:
        if not is_quantized(self.model):
            return choose_precision(precision, self.device, self.config.model)
        if precision not in ("float32", "auto"):
            raise ConfigError(f"--precision {precision} does not go with --decoder int8: leave one out.")
        return torch.float32

    def split_tokens(self, split: str | None = None, *, state: str | None = None) -> tuple[str, TokenFile]:
        """A split of the corpus that the model was trained on (test if there is one, else valid), as tokens.

        state: the policy that they are meant for; line needs tokens of its own. Gives the split's name with them.
        Raises RunError if the text is no longer the one that the model was trained on, or has no such split.
        """
        if self.run is None:
            raise RunError("This model belongs to no run: give a text or a file.")
        if self.config.data.corpus == "-":
            raise RunError("The model was trained on standard input, which is gone: give --file.")
        check_text_is_there(self.run.path, self.config)
        corpus = build_corpus(self.config.data, tokenizer=self.tokenizer, progress=self.progress)
        name = split or next((known for known in ("test", "valid") if known in corpus.splits), None)
        if name is None:
            raise RunError("The corpus has neither a test nor a valid split: give --split train, or --file.")
        if name not in corpus.splits:
            raise RunError(f"The corpus has no {name} split: it has {', '.join(corpus.splits)}.")
        if self.run.record.split_hash(name) != corpus.splits[name].sha256:
            raise RunError(
                f"The {name} split of {corpus.name} has changed since the model was trained: "
                "give --file to measure another text."
            )
        if state == "line":
            return name, encode_split(
                self.config.data, self.tokenizer, name, documents=EACH_LINE, progress=self.progress
            )
        return name, corpus.splits[name]

    def file_tokens(self, path: str | os.PathLike[str], *, state: str | None = None) -> TokenFile:
        """A file, a folder or ``-`` (standard input) as tokens, documents cut as in training.

        state: the policy that they are meant for; line needs tokens of its own.
        """
        rule = EACH_LINE if state == "line" else self.config.data.documents
        return encode_path(self.tokenizer, path, documents=rule, progress=self.progress)

    def _tell(self, stage: str, share: float) -> None:
        if self.progress is not None:
            self.progress(stage, share)

    def _stage(self, stage: str) -> Callable[[float], None]:
        return partial(self._tell, stage)

    def _passes(self, windows: Callable[[], Iterator[Window]], num_tokens: int) -> Callable[[], Iterator[Window]]:
        """The windows that tuning asks for again and again; their number is not known beforehand."""
        numbers = count(1)

        def read() -> Iterator[Window]:
            report = self._stage(f"tuning, pass {next(numbers)}")
            return watched(windows(), min(num_tokens, TUNING_TOKENS), report)

        return read

    def unknown_characters(self, text: str) -> list[str]:
        """What the tokenizer would turn into ``<unk>``: characters, or words for a word model, each once."""
        if self.tokenizer.unk_id is None or not text:
            return []
        ids, spans = self.tokenizer.encode_with_offsets(text)
        unknown = [
            text[start:end]
            for id, (start, end) in zip(ids.tolist(), spans.tolist(), strict=True)
            if id == self.tokenizer.unk_id
        ]
        return [piece for piece in dict.fromkeys(unknown) if piece != self.tokenizer.id_to_token(self.tokenizer.unk_id)]

    def _decoder_after(self, prompt: str) -> StreamDecoder:
        """A decoder that knows what stands before: a word model's next word begins with a space after a word."""
        decoder = self.tokenizer.stream_decoder()
        if prompt and not (self.tokenizer.eos_is_line_end and prompt[-1].isspace()):
            for id in self.tokenizer.encode(prompt).tolist():
                decoder.push(id)
        return decoder

    def _columns(
        self, prompt: str, decoding: Decoding, seed: int, streams: Sequence[int], never: Sequence[int]
    ) -> Iterator[Column]:
        if self._decoder is None:
            self._decoder = StepDecoder(self.model)
        return generate(
            self._decoder,
            [self.tokenizer.eos_id, *(self.tokenizer.encode(prompt).tolist() if prompt else [])],
            self.model.initial_state(1),
            decoding=decoding,
            seed=seed,
            streams=streams,
            stop_id=self.stop_id,
            never=never,
        )


def _fitting(settings: AdapterSettings, num_tokens: int, num_others: int) -> AdapterSettings:
    """The settings for a text of ``num_tokens`` tokens: a cache, whose memory is taken at once, no larger than what is
    read; other models without weights in equal shares.
    """
    shares = settings.mixed_weights or (1 / (1 + num_others),) * num_others
    return dataclasses.replace(
        settings, cache=min(settings.cache, max(num_tokens, TUNING_TOKENS)), mixed_weights=shares
    )


def _closing_perplexity(run: StoredRun) -> list[str]:
    """The perplexity that a run closed with, if its log has it."""
    try:
        record = RunDirectory(run.path).metrics().closing_record or {}
    except RunError:
        return []
    perplexity = record.get("perplexity")
    return [f"{record.get('split')} perplexity {perplexity:.4g}"] if isinstance(perplexity, (int, float)) else []


def load(path: str | os.PathLike[str], device: str = "auto", checkpoint: str | int = "best") -> TrainedModel | Any:
    """Open a run folder and return its best model, or that of a checkpoint: ``last``, or a step. A run of ``lmkit
    classify train`` gives a ``TrainedClassifier``.

    Raises RunError if the folder is missing, damaged or foreign, or has no such checkpoint.
    """
    run = RunDirectory.open(path)
    stored = run.stored(kind=None)
    if isinstance(stored.config, ClassifierConfig):
        return classifier_of(run, stored, device, checkpoint)
    return _language_model_of(run, stored, device, checkpoint)


def load_language_model(
    path: str | os.PathLike[str], device: str = "auto", checkpoint: str | int = "best"
) -> TrainedModel:
    """The same, and RunError for a run that is not a language model's."""
    run = RunDirectory.open(path)
    return _language_model_of(run, run.stored(), device, checkpoint)


def _language_model_of(run: RunDirectory, stored: StoredRun, device: str, checkpoint: str | int) -> TrainedModel:
    weights = None if checkpoint == "best" else run.checkpoints.weights(checkpoint)
    model = run.load_model(stored.language_model, choose_device(device), weights)
    return TrainedModel(model, stored.tokenizer, stored.config, stored, stored.record.counts("train"))
