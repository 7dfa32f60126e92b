"""Checks of a run folder: its files, its weights, its tokenizer, and what its model predicts."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lmkit.config import ClassifierConfig, Config
from lmkit.doctor.check import FAILED, OK, SKIPPED, Check, judged
from lmkit.doctor.run.carried import carried_state_checks, guessing_check
from lmkit.doctor.run.classifier import better_than_guessing, check_texts, classifier_checks
from lmkit.doctor.run.predictions import PROBE_TOKENS, check_predictor
from lmkit.doctor.run.records import check_records
from lmkit.doctor.run.round_trip import round_trip
from lmkit.doctor.run.starts import check_starts
from lmkit.errors import LmkitError
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.generation.decoder import StepDecoder
from lmkit.hardware import choose_device
from lmkit.model.blueprint import Blueprint
from lmkit.model.encoder import Encoder
from lmkit.model.language_model import LanguageModel
from lmkit.run.checkpoints.folder import CheckpointFolder
from lmkit.run.directory import RunDirectory
from lmkit.run.record import RunRecord
from lmkit.run.stored import StoredRun, check_text_is_there, check_vocabulary, config_of
from lmkit.text.cache.store import Cache
from lmkit.text.cache.survey import survey_source
from lmkit.text.corpus import Progress
from lmkit.text.sources.opening import open_source
from lmkit.text.sources.source import Source
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["check_checkpoints", "check_run", "check_step_decoder", "finite_weights"]

T = TypeVar("T")
N = TypeVar("N", bound=Encoder)
Records = Sequence[Mapping[str, Any]]
TEXT_CHARS = 20_000


def check_run(path: str | os.PathLike[str], device: str = "auto", progress: Progress | None = None) -> Iterator[Check]:
    """All checks of a run. What cannot be checked after a failure is skipped, with a note.

    Raises RunError if the path is no run of lmkit's.
    """
    run, chosen = RunDirectory.open(path), choose_device(device)
    record, values, tokenizer = RunRecord.read(run.path), _attempt(run.config_values), _attempt(run.unchecked_tokenizer)
    config = values if isinstance(values, LmkitError) else _attempt(partial(config_of, run.path, values, record))
    info, metrics = _attempt(record.info), _attempt(run.metrics)
    yield _opened("configuration", config, _config_finding)
    yield _opened("tokenizer", tokenizer, _tokenizer_finding)
    yield _opened("record of the run", info, lambda found: f"{len(found)} entries")
    if isinstance(config, LmkitError) or isinstance(tokenizer, LmkitError) or isinstance(info, LmkitError):
        yield Check("everything else", SKIPPED, "needs the files above")
        return
    assert not isinstance(values, LmkitError)
    stored = StoredRun(run.path, values, record, config, tokenizer)
    yield _tokenizer_hash(tokenizer, info)
    yield from check_records(run, stored, metrics)
    records = None if isinstance(metrics, LmkitError) else metrics.records
    if isinstance(config, ClassifierConfig):
        yield from _check_classifier(run, stored, config, records, chosen)
    else:
        yield from _check_language_model(run, stored, records, chosen, progress or (lambda stage, share: None))


def _check_classifier(
    run: RunDirectory, stored: StoredRun, config: ClassifierConfig, records: Records | None, device: torch.device
) -> Iterator[Check]:
    check, train = check_texts(config, stored.record.info())
    yield check
    texts = () if train is None else train.texts
    yield round_trip(stored.tokenizer, "\n".join(texts)[:TEXT_CHARS])
    yield check_checkpoints(run.checkpoints)
    model = _attempt(partial(_load_model, run, stored, stored.classifier, device))
    yield from _weights(model, stored)
    if isinstance(model, LmkitError):
        return
    yield from classifier_checks(model, stored.tokenizer, texts)
    if records is not None:
        yield better_than_guessing(records, math.log(stored.classifier.num_classes))


def _check_language_model(
    run: RunDirectory, stored: StoredRun, records: Records | None, device: torch.device, progress: Progress
) -> Iterator[Check]:
    config, tokenizer, info = stored.config, stored.tokenizer, stored.record.info()
    corpus, text = _corpus(run, config, info, progress)
    yield corpus
    yield round_trip(tokenizer, text)
    yield check_checkpoints(run.checkpoints)
    model = _attempt(partial(_load_model, run, stored, stored.language_model, device))
    yield from _weights(model, stored)
    if isinstance(model, LmkitError):
        return
    yield from _predictions(model, tokenizer, text)
    policy = "document" if config.training.state_policy == "document" else "carry"  # what eval does, too
    if policy == "carry":
        tokens = tokenizer.encode(text) if text else np.zeros(0, dtype=np.int64)
        yield from check_starts(NetworkPredictor(model), tokens, tokenizer.eos_id)
    documents = config.data.documents if policy == "document" else "file"
    yield from carried_state_checks(model, tokenizer, text, state=policy, documents=documents)
    if records is not None:
        yield guessing_check(records, tokenizer.vocab_size)


def _load_model(run: RunDirectory, stored: StoredRun, blueprint: Blueprint[N], device: torch.device) -> N:
    check_vocabulary(run.path, stored.values, stored.tokenizer.vocab_size)
    return run.load_model(blueprint, device)


def _weights(model: Encoder | LmkitError, stored: StoredRun) -> Iterator[Check]:
    """What can be said of any network; without one, that nothing more can."""
    yield _opened("weights", model, _weights_finding)
    if isinstance(model, LmkitError):
        yield Check("predictions", SKIPPED, "needs the weights")
        return
    yield _parameters(model, stored.record.info())
    yield finite_weights(model)


def finite_weights(model: Encoder) -> Check:
    """Whether a parameter or buffer is infinite or not a number."""
    wrong = {name: int((~torch.isfinite(tensor)).sum()) for name, tensor in model.state_dict().items()}
    number = sum(wrong.values())
    largest = max(float(parameter.detach().abs().max()) for parameter in model.parameters())
    if number:
        names = ", ".join(name for name, count in wrong.items() if count)
        return Check("finite weights", FAILED, f"{number:,} are not finite", number, (f"They are in {names}.",))
    return Check("finite weights", OK, f"all finite, the largest is {largest:.3g}", 0)


def check_checkpoints(folder: CheckpointFolder) -> Check:
    """Whether each checkpoint is what its manifest says, to the last byte."""
    steps = folder.steps()
    if not steps:
        return Check("checkpoints", SKIPPED, "there are none")
    faults = [
        fault for step in steps for fault in [_attempt(partial(folder.open, step))] if isinstance(fault, LmkitError)
    ]
    if faults:
        whole = len(steps) - len(faults)
        advice = f"A resume skips them; {whole or 'none'} of {len(steps)} can be used."
        return Check("checkpoints", FAILED, "damaged", len(faults), (*map(str, faults), advice))
    sound = f"steps {', '.join(f'{step:,}' for step in steps)} are" if len(steps) > 1 else f"step {steps[0]:,} is"
    return Check("checkpoints", OK, f"{sound} whole", len(steps))


def check_step_decoder(model: LanguageModel, ids: NDArray[np.int64], tolerance: float) -> Check:
    """Whether sampling's step decoder predicts what the model does, token after token."""
    tokens = torch.from_numpy(ids[:PROBE_TOKENS]).to(next(model.parameters()).device)
    whole, _ = NetworkPredictor(model).distribution(tokens[None], model.initial_state(1))
    step, state, rows = StepDecoder(model), model.initial_state(1), []
    for token in tokens:
        logits, state = step(token[None], state)
        rows.append(logits.float().log_softmax(dim=-1))
    difference = float((torch.cat(rows) - whole[0]).abs().max())
    advice = "A sampled text is not drawn from the probabilities that eval measures."
    return judged("sampling = scoring", difference, tolerance, " nats", advice)


def _predictions(model: LanguageModel, tokenizer: Tokenizer, text: str) -> Iterator[Check]:
    ids = np.random.default_rng(0).integers(tokenizer.vocab_size, size=PROBE_TOKENS)
    own = tokenizer.encode(text)[:PROBE_TOKENS].astype(np.int64) if text else ids[:0]
    ids[: len(own)] = own  # a short text is filled up with tokens drawn at random
    predictor, size, eos_id = NetworkPredictor(model), tokenizer.vocab_size, tokenizer.eos_id
    yield from check_predictor(predictor, ids, vocab_size=size, eos_id=eos_id, tolerance=predictor.tolerance)
    yield check_step_decoder(model, ids, predictor.tolerance)


def _attempt(load: Callable[[], T]) -> T | LmkitError:
    """A part of the run, or why it cannot be used."""
    try:
        return load()
    except LmkitError as error:
        return error


def _opened(name: str, found: T | LmkitError, describe: Callable[[T], str]) -> Check:
    if isinstance(found, LmkitError):
        return Check(name, FAILED, "cannot be used", None, (str(found),))
    return Check(name, OK, describe(found))


def _config_finding(config: Config) -> str:
    return config.network if isinstance(config, ClassifierConfig) else f"{config.network}, {config.model.head} softmax"


def _tokenizer_finding(tokenizer: Tokenizer) -> str:
    return f"{tokenizer.kind}, {tokenizer.vocab_size:,} tokens"


def _weights_finding(model: Encoder) -> str:
    return f"{len(model.state_dict())} tensors of the shapes that the configuration asks for"


def _parameters(model: Encoder, info: dict[str, Any]) -> Check:
    number = sum(parameter.numel() for parameter in model.parameters())
    recorded = info.get("parameters")
    if recorded == number:
        return Check("number of parameters", OK, f"{number:,}, as recorded", number)
    advice = f"run.json records {recorded}: the files of two runs may be mixed up."
    return Check("number of parameters", FAILED, f"{number:,}", number, (advice,))


def _tokenizer_hash(tokenizer: Tokenizer, info: dict[str, Any]) -> Check:
    found = tokenizer.sha256
    if info.get("tokenizer_sha256") is None:
        return Check("tokenizer's hash", SKIPPED, "run.json has none")
    if found == info["tokenizer_sha256"]:
        return Check("tokenizer's hash", OK, f"sha256 {found[:12]}…, as recorded")
    advice = "tokenizer.json is not the one that the model was trained with: its ids may mean other tokens."
    return Check("tokenizer's hash", FAILED, f"sha256 {found[:12]}… is not the recorded one", None, (advice,))


def _corpus(run: RunDirectory, config: Config, info: dict[str, Any], progress: Progress) -> tuple[Check, str]:
    """Whether the training text is still the recorded one, read again; and its beginning."""
    name, corpus = "corpus", info.get("corpus")
    recorded = corpus.get("sha256") if isinstance(corpus, dict) else None
    if config.data.corpus == "-":
        return Check(name, SKIPPED, "it was standard input, which is gone"), ""
    try:
        check_text_is_there(run.path, config)
        with open_source(config.data.corpus) as source:
            found = survey_source(source, Cache(), partial(progress, "reading the corpus"), verify=True).info()
            text = _beginning(source)
    except LmkitError as error:
        return Check(name, SKIPPED, "cannot be read here", None, (str(error),)), ""
    if found["sha256"] == recorded:
        return Check(name, OK, f"{found['chars']:,} characters, sha256 as recorded", found["chars"]), text
    advice = "The text has changed since the training: eval needs --file, and the results are of another text."
    # the run may be a stranger's, and the path in it lead to a private text: later checks quote what they read
    return Check(name, FAILED, "sha256 is not the recorded one", found["chars"], (advice,)), ""


def _beginning(source: Source) -> str:
    documents = next(iter(source.parts.values()))
    return "".join(islice((chunk for document in documents for chunk in document.chunks()), 1))[:TEXT_CHARS]
