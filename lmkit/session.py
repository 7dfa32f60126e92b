"""A training session: from a configuration to a run folder with its best model, one record at a time."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lmkit.config import Config
from lmkit.errors import ConfigError, DataError
from lmkit.evaluation.measurement import Measurement, measure
from lmkit.evaluation.perplexity import Evaluation
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.files import check_new_folder, is_file
from lmkit.hardware import choose_device, choose_precision, choose_threads, describe_cpu, memory_size
from lmkit.model.language_model import LanguageModel, SequenceLoss, stored_shapes
from lmkit.run import RunDirectory, free_run_path, lmkit_version
from lmkit.samplers import SAMPLERS, Sampler
from lmkit.text.corpus import Corpus, build_corpus
from lmkit.text.kinds import TOKENIZERS
from lmkit.text.sources import local_path
from lmkit.text.token_file import TokenFile
from lmkit.training.loop import EvaluationRecord, fit, progress_of
from lmkit.training.optimizers import make_optimizer
from lmkit.training.state import TrainState
from lmkit.training.step import StepRecord, Update

__all__ = ["Session"]

VALIDATION_ROWS = 64
VALIDATION_WARMUP = 256
LOG_EVERY = 20
ONE_STREAM_SECONDS = 60
BYTES_PER_PARAMETER = 16  # float32 weight, gradient, and the two moments of AdamW


class Session:
    """One training run. ``records`` trains, writes metrics and keeps the best model; ``close`` measures the best
    model.

    Everything is checked and made before the run folder appears: a mistake in the options or the text leaves nothing
    behind. Raises LmkitError for every mistake of the user.
    """

    def __init__(
        self, config: Config, out: Path | None = None, progress: Callable[[str, float], None] | None = None
    ) -> None:
        if out is not None:
            check_new_folder(out)
        self.device = choose_device(config.runtime.device)
        self.precision = choose_precision(config.runtime.precision, self.device)
        torch.set_num_threads(choose_threads(config.runtime.threads))
        config = _with_absolute_paths(config)
        self.config = config
        self.corpus = build_corpus(config.data, progress=progress)
        _check_length(config, self.corpus.splits["train"])
        if config.training.patience is not None and "valid" not in self.corpus.splits:
            raise ConfigError("--patience needs validation: the corpus has no valid split, and --valid-fraction is 0.")
        _check_memory(config, self.corpus.tokenizer.vocab_size)
        torch.manual_seed(config.runtime.seed)
        tokenizer = self.corpus.tokenizer
        self.model = LanguageModel(config.model, tokenizer.vocab_size, self._frequency_order()).to(self.device)
        self.sampler = _training_sampler(config, self.corpus)
        self.train = TrainState(self.model, make_optimizer(self.model, config.training))
        self.run = RunDirectory.create(out or free_run_path(self.corpus.name), config, tokenizer, self._info())

    @property
    def progress(self) -> float:
        """How much of the training is done, in [0, 1]."""
        return progress_of(self.train, self.sampler, self.config.training)

    def records(self) -> Generator[StepRecord | EvaluationRecord, None, None]:
        """Train. Every yield finds the run folder and the train state whole; leaving the loop early is a clean stop."""
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        update = Update(
            SequenceLoss(self.model), self.device, self.precision, self.config.training.max_grad_norm, scaler
        )
        validate = self._validate if "valid" in self.corpus.splits else None
        interval = _Interval(self.train)
        try:
            for record in fit(self.train, self.sampler, self.config.training, update, validate):
                if isinstance(record, StepRecord):
                    interval.add(record)
                    if record.step % LOG_EVERY == 0:
                        self.run.append(*interval.take())
                else:
                    self._keep(record)
                yield record
        finally:
            if interval.last is not None:
                self.run.append(*interval.take())

    def close(self) -> Measurement | None:
        """Put the best weights back and measure them on the test split, or on validation where there is no test; None
        without both.
        """
        if self.train.annealing.best_step or not self.train.step:
            if (self.run.path / "model.safetensors").is_file():
                best = self.run.load_model(self.config, self.corpus.tokenizer.vocab_size, self.device)
                self.model.load_state_dict(best.state_dict())
        else:
            self.run.save_model(self.model)  # without a validation split the last model is the one to keep
        split = next((name for name in ("test", "valid") if name in self.corpus.splits), None)
        if split is None or not self.train.step:
            return None
        rows = 1 if self._one_stream_is_quick(self.corpus.splits[split]) else VALIDATION_ROWS
        result = measure(
            NetworkPredictor(self.model),
            self.corpus.splits[split],
            self.corpus.tokenizer,
            split=split,
            state=self._eval_state(),
            rows=rows,
            warmup=VALIDATION_WARMUP if rows > 1 else 0,
        )
        self.run.append(
            {"kind": "final", "step": self.train.annealing.best_step, "split": split, **_figures(result.evaluation)}, {}
        )
        return result

    def _validate(self) -> Evaluation:
        return measure(
            NetworkPredictor(self.model),
            self.corpus.splits["valid"],
            self.corpus.tokenizer,
            split="valid",
            state=self._eval_state(),
            rows=VALIDATION_ROWS,
            warmup=VALIDATION_WARMUP,
        ).evaluation

    def _eval_state(self) -> str:
        return "document" if self.config.training.state_policy == "document" else "carry"

    def _keep(self, record: EvaluationRecord) -> None:
        if record.is_best:
            self.run.save_model(self.model)
        place = {"step": record.step, "epoch": record.epoch, "tokens": record.tokens}
        metrics = {
            "kind": "evaluation",
            **place,
            "split": "valid",
            "best": record.is_best,
            **_figures(record.evaluation),
        }
        self.run.append(metrics, {"kind": "evaluation", **place, "seconds": round(self.train.elapsed, 3)})

    def _frequency_order(self) -> torch.Tensor | None:
        """Ids by falling frequency in the training split, where the adaptive softmax needs them and the tokenizer has
        another order.
        """
        if self.config.model.head != "adaptive" or self.corpus.tokenizer.ids_by_frequency:
            return None
        counts = np.zeros(self.corpus.tokenizer.vocab_size, dtype=np.int64)
        ids = self.corpus.splits["train"].ids
        for start in range(0, len(ids), 2**22):
            counts += np.bincount(ids[start : start + 2**22], minlength=len(counts))
        return torch.from_numpy(np.argsort(-counts, kind="stable"))

    def _one_stream_is_quick(self, tokens: TokenFile) -> bool:
        """Whether one unbroken stream takes under a minute, from a fixed estimate: a matrix-vector product a step,
        then the output layer.
        """
        recurrent = sum(parameter.numel() for parameter in self.model.recurrent.parameters())
        output = self.config.model.hidden_size * self.corpus.tokenizer.vocab_size
        return len(tokens) * (50e-6 + recurrent / 6e9 + output / 50e9) < ONE_STREAM_SECONDS

    def _info(self) -> dict[str, Any]:
        splits = {
            name: {"tokens": len(split), "sha256": split.sha256, **vars(split.counts)}
            for name, split in self.corpus.splits.items()
        }
        return {
            "corpus": {"name": self.corpus.name, **self.corpus.info},
            "splits": splits,
            "tokenizer_sha256": hashlib.sha256(self.corpus.tokenizer.to_json().encode()).hexdigest(),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "versions": {"lmkit": lmkit_version(), "torch": torch.__version__, "numpy": np.__version__},
            "device": str(self.device),
            "cpu": describe_cpu(),
            "threads": torch.get_num_threads(),
            "precision": str(self.precision).removeprefix("torch."),
        }


class _Interval:
    """Sums over the steps since the last log line."""

    def __init__(self, train: TrainState) -> None:
        self.train = train
        self._clear()

    def _clear(self) -> None:
        self.nll, self.tokens, self.largest_norm = 0.0, 0, 0.0
        self.last: StepRecord | None = None
        self.started = self.train.elapsed

    def add(self, record: StepRecord) -> None:
        self.nll += record.nll
        self.tokens += record.tokens
        self.largest_norm = max(self.largest_norm, record.grad_norm)
        self.last = record

    def take(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The metrics and the timings of the interval; the next one begins."""
        last = self.last
        assert last is not None
        place = {"kind": "training", "step": last.step, "epoch": last.epoch, "tokens": self.train.tokens}
        loss = {"nll": self.nll, "tokens_scored": self.tokens, "nats_per_token": self.nll / max(1, self.tokens)}
        metrics = {**place, **loss, "lr": last.lr, "grad_norm": self.largest_norm}
        seconds = self.train.elapsed - self.started
        timings = {
            **place,
            "seconds": round(self.train.elapsed, 3),
            "tokens_per_second": round(self.tokens / seconds) if seconds else None,
            "time": round(time.time(), 3),
        }
        self._clear()
        return metrics, timings


def _training_sampler(config: Config, corpus: Corpus) -> Sampler:
    train = corpus.splits["train"]
    training = config.training
    kind = partial(
        SAMPLERS[training.sampler],
        train.ids,
        eos_id=corpus.tokenizer.eos_id,
        batch_size=training.batch_size,
        window=training.window,
        seed=config.runtime.seed,
    )
    own: dict[str, Any] = {
        "sequential": {"state": training.state_policy},
        "random": {},
        "document": {"documents": train.document_starts},
    }
    return kind(**own[training.sampler])


def _check_length(config: Config, train: TokenFile) -> None:
    rows, window = config.training.batch_size, config.training.window
    if config.training.sampler != "document" and len(train) < rows * window:
        fitting_window = min(window, max(1, len(train)))
        fitting_rows = max(1, len(train) // fitting_window)
        raise DataError(
            f"The training text has {len(train):,} tokens: too short for {rows:,} rows of {window:,}. "
            f"--batch-size {min(rows, fitting_rows)} --window {fitting_window} would fit."
        )


def _with_absolute_paths(config: Config) -> Config:
    """A local text and tokenizer by their absolute paths, so that the run finds them from any folder."""
    path = local_path(config.data.corpus)
    if path is not None:
        config = config.override({"corpus": str(path.resolve())})
    tokenizer = Path(config.data.tokenizer).expanduser()
    if config.data.tokenizer in TOKENIZERS or not is_file(tokenizer):
        return config
    return config.override({"tokenizer": str(tokenizer.resolve())})


def _check_memory(config: Config, vocab_size: int) -> None:
    """Raise ConfigError where the weights, their gradients and the optimiser's memory of them exceed the machine's
    memory.
    """
    numbers = sum(math.prod(shape) for shape in stored_shapes(config.model, vocab_size).values())
    needed = numbers * BYTES_PER_PARAMETER
    present = memory_size()
    if present is not None and needed > present:
        raise ConfigError(
            f"A model of {numbers:,} parameters needs about {needed / 2**30:,.0f} GiB to train, and this machine has "
            f"{present / 2**30:,.0f} GiB: choose a smaller --hidden-size, --embedding-size or --layers."
        )


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "nll": evaluation.nll,
        "tokens_scored": evaluation.tokens,
        "nats_per_token": evaluation.nats_per_token,
        "perplexity": evaluation.perplexity,
    }
