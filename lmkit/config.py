"""The configuration of a run: the only place where a default, a help text and a bound are written.

The command line makes its options from these fields, presets and ``--config`` files are read into them, and a run
folder's ``config.json`` is written from them. Field names are unique over the whole tree, so an override needs no
section.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from lmkit.errors import ConfigError
from lmkit.fields import Section, alternatives, arguments_of, flag_of, option

__all__ = [
    "CONFIG_FORMAT",
    "KINDS",
    "NO_FLAG",
    "PLACEMENT",
    "RESUMABLE",
    "CheckpointConfig",
    "ClassifierConfig",
    "Config",
    "DataConfig",
    "FineTuning",
    "LabelConfig",
    "ModelConfig",
    "RuntimeConfig",
    "TrainingConfig",
    "flatten",
]

CONFIG_FORMAT = 1
JITTER_REACH = 2  # deviations that a window may be longer or shorter
MAX_WIDTH = 65536  # a network wider than this fits no machine that lmkit runs on
MAX_SPAN = 2**20  # positions: their keys and values take gigabytes
# What a resume may change: when it ends, and how often it is saved. All else would make it another run.
RESUMABLE = ("epochs", "max_steps", "max_seconds", "checkpoint_every", "checkpoint_seconds", "keep_checkpoints")
# Options of the network that act in training alone, so that a fine-tuning may choose them anew.
REGULARISERS = (
    *("dropout", "embedding_dropout", "layer_dropout", "output_dropout", "locked_dropout"),
    *("embedding_type_dropout", "weight_drop", "kernel"),
)
NO_FLAG = ("",)  # of what follows from the data
PLACEMENT = ("device", "precision", "threads")  # of RuntimeConfig: --allow-inexact may change them
CELLS = (
    *("rnn", "irnn", "gru", "lstm", "lnlstm", "mogrifier"),
    *("qrnn", "sru", "mingru", "minlstm", "rglru", "slstm", "mlstm"),
    "transformer",
)
WITH_MATRICES = ("rnn", "irnn", "gru", "lstm", "lnlstm", "mogrifier", "slstm")  # from the state to the gates
# The options of each optimiser and their defaults: torch's, but for the second beta of AdamW (and so of Muon),
# because runs of minutes have few steps and want a shorter memory of squares.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.0},
    "adamw": {"betas": (0.9, 0.99), "eps": 1e-8},
    "adam": {"betas": (0.9, 0.999), "eps": 1e-8},
    "rmsprop": {"momentum": 0.0, "eps": 1e-8},
    "adagrad": {"eps": 1e-10},
    "muon": {"betas": (0.9, 0.99), "eps": 1e-8, "momentum": 0.95, "muon_lr": None},
}
# The means of the weights, with their options and the papers' defaults.
AVERAGES: dict[str, dict[str, Any]] = {
    "none": {},
    "ema": {"average_decay": 0.999},
    "swa": {"average_start": 0.75},
    "nt-asgd": {"average_n": 5},
}
SCHEDULES = {"sgd": "plateau", "adagrad": "constant"}  # where none is named; cosine for the other optimisers
DOCUMENTS = ("file", "line", "blank-line")
# Cells of whose states each number means something from the first step on, and none is a count or a stabiliser.
WITH_REAL_STATES = (
    *("rnn", "irnn", "gru", "lstm", "lnlstm", "mogrifier"),
    *("qrnn", "sru", "mingru", "minlstm", "rglru"),
)
# How the gradient is truncated, with the options of each style and their defaults; None: they follow from --window.
TRUNCATIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "fixed": {},
    "k1k2": {"k1": None, "k2": None},
    "random": {},
    "artbp": {"artbp_cut": 0.25, "artbp_chunk": None},
}
# Options that a classifier takes, of the sections of which it does not take all.
OF_CLASSIFIERS = {
    "data": ("corpus", "tokenizer", "vocab_size", "min_count", "valid_fraction"),
    "model": (
        *("cell", "block", "num_layers", "hidden_size", "embedding_size"),
        *REGULARISERS,
        *("zoneout", "nonlinearity", "irnn_form", "recurrent_init", "recurrent_scale", "forget_bias", "initial_state"),
        *("input_gate", "projection_size", "mogrifier_rounds", "conv_width", "heads", "context"),
        *("attention", "attention_kind"),
    ),
    "training": (
        *("window", "batch_size", "accumulate"),
        *("optimizer", "lr", "betas", "eps", "momentum", "muon_lr", "weight_decay"),
        *("schedule", "warmup", "lr_decay", "decay_after", "lr_decay_per_layer", "freeze", "unfreeze_every"),
        *("average", "average_decay", "average_start", "average_n", "max_grad_norm"),
        *("epochs", "max_steps", "max_seconds", "eval_every", "patience", "on_nonfinite", "skip_spikes"),
    ),
}
SAMPLER_STATES = {"sequential": ("carry", "reset"), "random": ("reset",), "document": ("document",)}
# The pairs of sampler and state that a style of truncation needs; `fixed` serves all.
TRUNCATION_PAIRS = {
    "none": (("sequential", "carry"), ("document", "document")),
    "k1k2": (("sequential", "carry"),),
    "random": (("sequential", "carry"), ("sequential", "reset")),
    "artbp": (("sequential", "carry"),),
}
OF_WINDOWS = ("fixed", "random")  # styles whose windows have about --window steps and follow each other


@dataclass(frozen=True)
class DataConfig(Section):
    """Which text, cut how, in which tokens."""

    corpus: str = option(
        "pydoc",
        "Corpus: a name from `lmkit corpora`, a file, a folder, - for standard input, or a Hugging Face dataset.",
        flags=("--corpus", "--data", "--input-txt"),
    )
    tokenizer: str = option("char", "Tokenizer: char, word, bpe, or the path of a tokenizer.json.")
    vocab_size: int | None = option(
        None, "Largest vocabulary (default: all characters; all words; 4096 BPE tokens).", minimum=4
    )
    min_count: int = option(1, "Characters or words seen fewer times become <unk>.", minimum=1)
    documents: str = option("file", "What a document is; several are closed by <eos> each.", choices=DOCUMENTS)
    valid_fraction: float = option(
        0.1, "Share of the text kept for validation.", flags=("--valid-fraction", "--val-frac"), minimum=0, below=1
    )
    test_fraction: float = option(
        0.1, "Share of the text kept for the test.", flags=("--test-fraction", "--test-frac"), minimum=0, below=1
    )
    split_at: str = option("char", "Where splits may be cut.", choices=("char", "line"))

    def check(self) -> None:
        if self.valid_fraction + self.test_fraction >= 1:
            raise ConfigError(
                f"--valid-fraction {self.valid_fraction:g} and --test-fraction {self.test_fraction:g} leave nothing to "
                "train on: their sum must stay below 1."
            )
        if not self.corpus:
            raise ConfigError("--corpus is empty: give a name from `lmkit corpora`, a file or a folder.")
        if not self.tokenizer:
            raise ConfigError("--tokenizer is empty: give char, word, bpe, or the path of a tokenizer.json.")


@dataclass(frozen=True)
class ModelConfig(Section):
    """The shape of the network."""

    cell: str = option(
        "lstm",
        "Recurrent cell, or a transformer to compare with.",
        flags=("--cell", "--model", "--model-type"),
        choices=CELLS,
    )
    block: str = option(
        "plain",
        "Layer: the bare cell, or a block around it with residual branches, normalisations and a convolution.",
        choices=("plain", "residual"),
    )
    num_layers: int = option(
        1, "Number of layers.", flags=("--layers", "--num-layers", "--nlayers", "--n-layers"), minimum=1, maximum=64
    )
    hidden_size: int = option(
        256,
        "Units in a layer.",
        flags=("--hidden-size", "--nhid", "--rnn-size", "--hidden-dim", "--hidden"),
        minimum=1,
        maximum=MAX_WIDTH,
    )
    embedding_size: int | None = option(
        None,
        "Size of a token's embedding (default: the hidden size).",
        flags=("--embedding-size", "--emsize", "--embedding-dim", "--wordvec-size"),
        minimum=1,
        maximum=MAX_WIDTH,
    )
    tie_embeddings: bool = option(
        False,
        "Share the embedding with the output layer.",
        flags=("--tied", "--tie-embeddings", "--tie-weights", "--share-decoder-input-output-embed"),
    )
    dropout: float = option(0.2, "Dropout on embeddings, between layers and on outputs.", minimum=0, below=1)
    embedding_dropout: float | None = option(None, "Dropout on embeddings (default: --dropout).", minimum=0, below=1)
    layer_dropout: float | None = option(
        None, "Dropout between layers, or on residual branches (default: --dropout).", minimum=0, below=1
    )
    output_dropout: float | None = option(
        None, "Dropout before the output layer (default: --dropout).", minimum=0, below=1
    )
    locked_dropout: bool = option(
        False,
        "Keep a dropout mask for all steps of a window (variational dropout); quicker than a new one each step.",
        flags=("--locked-dropout", "--variational-dropout"),
    )
    embedding_type_dropout: float = option(
        0.0,
        "Dropout of whole word types from the embedding, one mask a window (Gal & Ghahramani 2016).",
        flags=("--embedding-type-dropout", "--dropoute"),
        minimum=0,
        below=1,
    )
    weight_drop: float = option(
        0.0,
        "DropConnect on recurrent matrices, one mask a window (Merity et al. 2018).",
        flags=("--weight-drop", "--weight-dropout", "--wdrop"),
        minimum=0,
        below=1,
        cells=WITH_MATRICES,
    )
    zoneout: float = option(
        0.0,
        "Probability that a unit keeps its value at a step (Krueger et al. 2017).",
        minimum=0,
        below=1,
        cells=("rnn", "irnn", "gru", "lstm", "lnlstm", "mogrifier", "mingru", "minlstm", "rglru"),
    )
    nonlinearity: str | None = option(
        None, "Nonlinearity of the plain network (default: tanh).", choices=("tanh", "relu", "sigmoid"), cells=("rnn",)
    )
    irnn_form: str | None = option(
        None,
        "An IRNN whose state cannot grow without bound, or the paper's (default: bounded).",
        choices=("bounded", "paper"),
        cells=("irnn",),
    )
    kernel: str | None = option(
        None,
        "What computes a window in training on a CPU: lmkit's own kernel, or torch's, which is slower (default: own).",
        choices=("own", "torch"),
        cells=("rnn", "irnn", "gru"),
    )
    recurrent_init: str | None = option(
        None,
        "Start of the recurrent matrices, gate by gate (default: uniform; irnn: identity).",
        choices=("uniform", "orthogonal", "identity"),
        cells=WITH_MATRICES,
    )
    recurrent_scale: float | None = option(
        None,
        "What the start of the recurrent matrices is multiplied by (default: 1; the identity of a bounded irnn: 0.1).",
        above=0,
        maximum=100,
        cells=WITH_MATRICES,
    )
    forget_bias: float | None = option(
        None,
        "Initial bias of the forget gate (default: about 0).",
        minimum=-100,
        maximum=100,
        cells=("lstm", "lnlstm"),
    )
    initial_state: str | None = option(
        None,
        "State before any token: zero, or learned (default: zero).",
        choices=("zero", "learned"),
        cells=WITH_REAL_STATES,
    )
    input_gate: str | None = option(
        None,
        "An LSTM's input gate: its own, 1 - f of the forget gate f, or at most 1 - f (default: untied).",
        choices=("untied", "coupled", "capped"),
        cells=("lstm",),
    )
    projection_size: int | None = option(
        None,
        "Size that an LSTM's outputs are projected to, below the hidden size (default: no projection).",
        minimum=1,
        maximum=MAX_WIDTH,
        cells=("lstm",),
    )
    mogrifier_rounds: int | None = option(
        None,
        "Rounds in which input and state gate each other (default: 5).",
        minimum=0,
        maximum=64,
        cells=("mogrifier",),
    )
    conv_width: int | None = option(
        None,
        "Inputs that a step of a QRNN sees, its own included (default: 2).",
        minimum=1,
        maximum=64,
        cells=("qrnn",),
    )
    heads: int | None = option(
        None,
        "Heads that share the units (default: 4, or fewer where 4 does not divide the hidden size).",
        minimum=1,
        maximum=MAX_WIDTH,
        cells=("slstm", "mlstm", "transformer"),
    )
    context: int | None = option(
        None,
        "Positions that a layer of a transformer attends to, its own included (default: 128).",
        minimum=1,
        maximum=MAX_SPAN,
        cells=("transformer",),
    )
    attention: int | None = option(
        None,
        "Attend with one head to this many last outputs of the layers, the current one included (default: none).",
        minimum=1,
        maximum=MAX_SPAN,
    )
    attention_kind: str = option(
        "sha", "Attention: that of the SHA-RNN, or additive as Bahdanau's.", choices=("sha", "bahdanau")
    )
    head: str = option(
        "full", "Output layer: full softmax, or adaptive for large vocabularies.", choices=("full", "adaptive")
    )
    cutoffs: tuple[int, ...] | None = option(
        None, "Adaptive softmax: where its clusters begin, by rank of frequency (default: V/16,V/4).", minimum=1
    )

    def check(self) -> None:
        for item in dataclasses.fields(self):
            cells = item.metadata["cells"]
            if cells and getattr(self, item.name) != item.default and self.cell not in cells:
                raise ConfigError(f"{flag_of(item)} needs --cell {alternatives(cells)}: {self.cell} does not have it.")
        if self.heads is not None and self.hidden_size % self.heads:
            raise ConfigError(f"--heads {self.heads} does not divide --hidden-size {self.hidden_size}.")
        if self.block != "plain" and self.cell == "transformer":
            raise ConfigError(
                "--block residual needs a recurrent --cell: a layer of a transformer is a residual block."
            )
        self._check_projection()
        if self.attention is None and self.attention_kind != "sha":
            raise ConfigError(
                f"--attention-kind {self.attention_kind} needs --attention: to how many outputs it attends."
            )
        if self.cutoffs is not None and self.head != "adaptive":
            raise ConfigError("--cutoffs needs --head adaptive.")
        if self.cutoffs is not None and (not self.cutoffs or list(self.cutoffs) != sorted(set(self.cutoffs))):
            raise ConfigError("--cutoffs must ascend, as in 2000,8000.")

    def _check_projection(self) -> None:
        if self.projection_size is None:
            return
        if self.projection_size >= self.hidden_size:
            raise ConfigError(
                f"--projection-size {self.projection_size} must be below --hidden-size {self.hidden_size}."
            )
        if self.recurrent_init == "identity":
            raise ConfigError(
                f"--recurrent-init identity needs square matrices, and --projection-size {self.projection_size} makes "
                f"them {self.hidden_size} x {self.projection_size}: use orthogonal or uniform."
            )

    @property
    def output_size(self) -> int:
        """Size of what a layer gives."""
        return self.hidden_size if self.block == "residual" else self.projection_size or self.hidden_size

    @property
    def shape(self) -> str:
        """Block, cell, layers, units and attention, for people."""
        block = "" if self.block == "plain" else f"{self.block} "
        attention = "" if self.attention is None else f", {self.attention_kind} attention {self.attention}"
        return f"{block}{self.cell} {self.num_layers} x {self.hidden_size}{attention}"

    @property
    def dropouts(self) -> tuple[float, float, float]:
        """Dropout on embeddings, between layers and on outputs, with the common value filled in."""
        own = (self.embedding_dropout, self.layer_dropout, self.output_dropout)
        embedding, layer, output = (self.dropout if value is None else value for value in own)
        return embedding, layer, output


@dataclass(frozen=True)
class TrainingConfig(Section):
    """How the network is trained."""

    sampler: str = option("sequential", "Order of the windows.", choices=("sequential", "random", "document"))
    state: str | None = option(
        None,
        "Hidden state between windows (default: what the sampler allows, carry for sequential).",
        choices=("carry", "reset", "document"),
    )
    drop_state: float = option(
        0.0,
        "Probability that a row begins a window from its initial state, not from the one it carries.",
        minimum=0,
        below=1,
    )
    window: int = option(
        64,
        "Steps of a window: the reach of truncated back-propagation through time (bptt).",
        flags=(
            "--window",
            "--bptt",
            "--seq-length",
            "--sequence-length",
            "--num-steps",
            "--max-time-steps",
            "--tokens-per-sample",
            "--chunk-len",
            "--block-size",
            "--ctx-len",
        ),
        minimum=1,
    )
    window_jitter: int = option(
        0,
        "Standard deviation of the windows' lengths, 5 in AWD-LSTM; one in 20 has half of --window "
        "(0: equal; random: --window / 8).",
        minimum=0,
    )
    truncation: str = option(
        "fixed",
        "Where gradients are cut: never, every --window, --k2 steps back, at random lengths, or without bias (artbp).",
        choices=tuple(TRUNCATIONS),
    )
    k1: int | None = option(None, "Steps from update to update under k1k2 (default: a quarter of --k2).", minimum=1)
    k2: int | None = option(
        None, "Steps that each gradient goes back under k1k2, at least --k1 (default: --window).", minimum=1
    )
    artbp_cut: float | None = option(
        None, "Probability that artbp cuts the gradient at a border (default: 0.25).", above=0, below=1
    )
    artbp_chunk: int | None = option(
        None,
        "Steps from border to border of artbp (default: --window times --artbp-cut: cuts are --window steps apart).",
        minimum=1,
    )
    burn_in: int = option(
        0,
        "Tokens before a window that the random sampler reads first and does not predict.",
        minimum=0,
        maximum=MAX_SPAN,
    )
    batch_size: int = option(
        32,
        "Parallel streams (batch).",
        flags=("--batch-size", "--bsz", "--bs", "--batchsize", "--mini-batch-size"),
        minimum=1,
    )
    accumulate: int = option(
        1,
        "Parts that the rows of a batch are computed in, one after the other, to save memory; the update is the same.",
        flags=("--accumulate", "--gradient-accumulation-steps", "--accum"),
        minimum=1,
    )
    optimizer: str = option(
        "adamw", "Optimiser.", flags=("--optimizer", "--optimization-method", "--opt"), choices=tuple(OPTIMIZERS)
    )
    lr: float = option(3e-3, "Learning rate.", flags=("--lr", "--learning-rate"), above=0)
    betas: tuple[float, ...] | None = option(
        None,
        "Adam's decay of the means of gradients and squares (default: 0.9,0.99; 0.9,0.999 for adam).",
        minimum=0,
        below=1,
    )
    eps: float | None = option(
        None, "Adaptive optimisers: what is added to the root of the squares (default: 1e-8; adagrad 1e-10).", above=0
    )
    momentum: float | None = option(
        None, "Momentum (default: 0 for sgd and rmsprop, 0.95 for muon).", minimum=0, below=1
    )
    muon_lr: float | None = option(
        None, "Learning rate of the recurrent layers' matrices, which Muon trains (default: --lr).", above=0
    )
    weight_decay: float = option(0.0, "Weight decay on matrices.", flags=("--weight-decay", "--wdecay"), minimum=0)
    ar_alpha: float = option(
        0.0, "Penalty on the mean square of the last layer's outputs after dropout (AR, Merity et al. 2017).", minimum=0
    )
    tar_beta: float = option(
        0.0,
        "Penalty on the mean square of the change of these outputs from step to step, before dropout (TAR).",
        minimum=0,
    )
    schedule: str | None = option(
        None,
        "Learning-rate schedule (default: plateau for sgd, constant for adagrad, else cosine).",
        choices=("constant", "cosine", "plateau", "epochs"),
    )
    warmup: float = option(0.02, "Share of the training in which a cosine schedule warms up.", minimum=0, below=1)
    lr_decay: float = option(
        4.0, "What the rate is divided by: plateau, at each bad validation; epochs, at each epoch.", above=1
    )
    decay_after: int | None = option(
        None, "Epochs schedule: epochs at the full rate before it falls (default: 1).", minimum=1
    )
    lr_decay_per_layer: float = option(
        1.0,
        "Each part below the head, down to the embedding, has the rate of the one above divided by this.",
        minimum=1,
    )
    freeze: tuple[str, ...] | None = option(
        None, "Parts that are not trained, as in embedding,layers.0: head, attention, layers.N, embedding."
    )
    unfreeze_every: int | str | None = option(
        None,
        "Train the head alone at first, then one more part below it every N steps, or every `epoch`.",
        minimum=1,
        words=("epoch",),
    )
    average: str = option(
        "none",
        "Mean of the weights that is validated, kept and sampled (nt-asgd: from the first bad validation on).",
        choices=tuple(AVERAGES),
    )
    average_decay: float | None = option(
        None, "Decay of the mean from step to step (default: 0.999).", above=0, below=1
    )
    average_start: float | None = option(
        None, "Share of the training after which the mean begins (default: 0.75).", minimum=0, below=1
    )
    average_n: int | None = option(
        None, "Newest validations that a bad one is not compared with (default: 5).", minimum=1
    )
    max_grad_norm: float = option(
        1.0,
        "Global norm that the gradient is clipped to (0: never).",
        flags=(
            "--clip",
            "--max-grad-norm",
            "--grad-clip",
            "--clip-norm",
            "--gradient-normalization",
            "--gradient-cutoff",
        ),
        minimum=0,
    )
    epochs: int | None = option(
        None,
        "Stop after this many epochs (default 15 if nothing else ends the run).",
        flags=("--epochs", "--max-epochs", "--num-epochs"),
        minimum=1,
    )
    max_steps: int | None = option(None, "Stop after this many steps.", flags=("--max-steps", "--max-iters"), minimum=1)
    max_seconds: float | None = option(None, "Stop after this many seconds inside the training loop.", above=0)
    eval_every: int | None = option(
        None,
        "Validate every N steps (default: every epoch).",
        flags=("--eval-every", "--eval-val-every"),
        minimum=1,
    )
    patience: int | None = option(
        None, "Stop early after this many validations without a new best.", flags=("--patience",), minimum=1
    )
    on_nonfinite: str = option(
        "raise",
        "A step that is not finite: raise an error, skip it, or roll the weights back to the last --checkpoint-every.",
        choices=("raise", "skip", "rollback"),
    )
    skip_spikes: bool = option(
        False, "Leave out steps whose loss or gradient norm is beyond mean + 6 sigma of the last 128."
    )

    def check(self) -> None:
        allowed = SAMPLER_STATES[self.sampler]
        if self.state is not None and self.state not in allowed:
            raise ConfigError(
                f"--sampler {self.sampler} cannot be used with --state {self.state}: it takes {alternatives(allowed)}."
            )

        if self.accumulate > self.batch_size:
            raise ConfigError(
                f"--accumulate {self.accumulate} needs as many rows: raise --batch-size {self.batch_size} or lower it."
            )
        if self.decay_after is not None and self.schedule != "epochs":
            raise ConfigError(f"--decay-after needs --schedule epochs, not {self.schedule_name}.")
        _check_owned(self, "optimizer", OPTIMIZERS)
        _check_owned(self, "average", AVERAGES)
        if self.average == "nt-asgd" and (self.optimizer, self.schedule_name) != ("sgd", "constant"):
            raise ConfigError(
                "--average nt-asgd is a mean of SGD at a constant rate: give --optimizer sgd and no other --schedule."
            )
        if self.betas is not None and len(self.betas) != 2:
            raise ConfigError(f"--betas must be two numbers such as 0.9,0.99, not {len(self.betas)}.")

        if self.drop_state and self.state_policy == "reset":
            raise ConfigError(
                f"--drop-state needs a state that is carried: with --sampler {self.sampler} and --state reset every "
                "window begins from the initial state."
            )
        if self.window_jitter and self.sampler != "sequential":
            raise ConfigError(
                f"--window-jitter needs --sampler sequential: the windows of --sampler {self.sampler} have one length."
            )
        if self.burn_in and self.sampler != "random":
            raise ConfigError(
                f"--burn-in needs --sampler random: the windows of --sampler {self.sampler} follow each other."
            )
        self._check_truncation()

    def _check_truncation(self) -> None:
        _check_owned(self, "truncation", TRUNCATIONS)
        pairs = TRUNCATION_PAIRS.get(self.truncation)
        if pairs is not None and (self.sampler, self.state_policy) not in pairs:
            needed = alternatives([f"--sampler {sampler} and --state {state}" for sampler, state in pairs])
            raise ConfigError(
                f"--truncation {self.truncation} cannot be used with --sampler {self.sampler} and --state "
                f"{self.state_policy}: it takes {needed}."
            )
        for flag, value in (("--window-jitter", self.window_jitter), ("--drop-state", self.drop_state)):
            if value and self.truncation not in OF_WINDOWS:
                raise ConfigError(f"{flag} needs --truncation {alternatives(OF_WINDOWS)}, not {self.truncation}.")
        if self.window <= JITTER_REACH * self.jitter:
            asked = (
                "--window-jitter {0}" if self.window_jitter else "--truncation random, whose --window-jitter is {0},"
            )
            raise ConfigError(
                f"{asked.format(self.jitter)} needs --window {JITTER_REACH * self.jitter + 1} or more: "
                f"its shortest windows have {JITTER_REACH * self.jitter} steps fewer."
            )
        options = self.truncation_options
        if self.truncation == "k1k2" and options["k2"] < options["k1"]:
            source = "" if self.k2 is not None else ", which is --window,"
            raise ConfigError(
                f"--k2 {options['k2']}{source} must be at least --k1 {options['k1']}: else targets would be left out."
            )

    @property
    def state_policy(self) -> str:
        """The state policy with the sampler's default filled in."""
        return self.state or SAMPLER_STATES[self.sampler][0]

    @property
    def schedule_name(self) -> str:
        """The schedule with the optimiser's default filled in; a mean by nt-asgd takes the place of a falling rate."""
        if self.schedule is None and self.average == "nt-asgd":
            return "constant"
        return self.schedule or SCHEDULES.get(self.optimizer, "cosine")

    @property
    def optimizer_options(self) -> dict[str, Any]:
        """The optimiser's own options, with its defaults filled in."""
        options = _filled(self, OPTIMIZERS[self.optimizer])
        return options | ({"muon_lr": self.muon_lr or self.lr} if "muon_lr" in options else {})

    @property
    def truncation_options(self) -> dict[str, Any]:
        """The options of the style of truncation, with its defaults filled in."""
        options = _filled(self, TRUNCATIONS[self.truncation])
        if self.truncation == "k1k2":
            k2 = options["k2"] or self.window
            options = {"k1": options["k1"] or max(1, k2 // 4), "k2": k2}
        if self.truncation == "artbp":
            options["artbp_chunk"] = options["artbp_chunk"] or max(1, round(self.window * options["artbp_cut"]))
        return options

    @property
    def border_factor(self) -> float:
        """What the gradient into the state is multiplied by where a row could have been cut and was not."""
        return 1 / (1 - self.truncation_options.get("artbp_cut", 0.0))

    @property
    def jitter(self) -> int:
        """The deviation of the windows' lengths: of random truncation, where none is chosen, an eighth of a window."""
        return self.window_jitter or (max(1, self.window // 8) if self.truncation == "random" else 0)

    @property
    def average_options(self) -> dict[str, Any]:
        """The mean's own options, with its defaults filled in."""
        return _filled(self, AVERAGES[self.average])

    @property
    def epoch_limit(self) -> int | None:
        """Epochs after which training stops, with the default filled in; None where steps or seconds end it."""
        if self.epochs is None and self.max_steps is None and self.max_seconds is None:
            return 15
        return self.epochs


@dataclass(frozen=True)
class CheckpointConfig(Section):
    """When a run is saved, so that it can be resumed; each new best model is saved too, and the end."""

    checkpoint_every: int | None = option(
        None,
        "Save every N steps.",
        flags=("--checkpoint-every", "--save-every", "--checkpoint-interval"),
        minimum=1,
    )
    checkpoint_seconds: float = option(60.0, "Save every N seconds (0: none by time).", minimum=0)
    keep_checkpoints: int = option(2, "Checkpoints that are kept, besides the best one.", minimum=1)


@dataclass(frozen=True)
class RuntimeConfig(Section):
    """Where and how exactly it is computed."""

    seed: int = option(1, "Seed of everything random.", flags=("--seed", "--random-seed"), minimum=0, below=2**31)
    init_seed: int | None = option(
        None, "Seed of the first weights and of dropout (default: --seed).", minimum=0, below=2**31
    )
    data_seed: int | None = option(
        None, "Seed of the order in which the text is read (default: --seed).", minimum=0, below=2**31
    )
    device: str = option("auto", "Device.", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = option(
        "auto",
        "Arithmetic of training (auto: bfloat16 where the processor has instructions for it).",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    threads: int | None = option(None, "Threads on the CPU (default: its physical cores).", minimum=1, maximum=1024)

    @property
    def weights_seed(self) -> int:
        """The seed of the first weights and of dropout, with the default filled in."""
        return self.seed if self.init_seed is None else self.init_seed

    @property
    def order_seed(self) -> int:
        """The seed of the order of the windows, with the default filled in."""
        return self.seed if self.data_seed is None else self.data_seed


@dataclass(frozen=True)
class FineTuning(Section):
    """What a fine-tuning begins from. It is no part of a configuration: run.json records where a run came from."""

    init_from: str | None = option(None, "Begin from the network and the tokenizer of this run (fine-tuning).")
    init_checkpoint: str = option("best", "Which model of that run: best, last, or a step.")
    extend_vocab: str = option(
        "none",
        "Add to that run's vocabulary what occurs --min-count times in the training text.",
        choices=("none", "characters", "words"),
    )

    def check(self) -> None:
        for item in dataclasses.fields(self):
            if self.init_from is None and getattr(self, item.name) != item.default:
                raise ConfigError(f"{flag_of(item)} needs --init-from RUN.")


@dataclass(frozen=True)
class Config:
    """All sections of a run's configuration. kind: what is trained; command: that trains it; unit: what its loss is
    counted in, as the logs name it.
    """

    kind: ClassVar[str] = "language model"
    command: ClassVar[str] = "lmkit train"
    unit: ClassVar[str] = "token"

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        if self.training.on_nonfinite == "rollback" and self.checkpoint.checkpoint_every is None:
            raise ConfigError(
                "--on-nonfinite rollback needs --checkpoint-every: the weights go back to the last such step."
            )

    def override(self, values: Mapping[str, Any]) -> Config:
        """A new config with some fields changed, named without their section."""
        sections = {}
        known = set()
        for section in dataclasses.fields(self):
            current = getattr(self, section.name)
            names = {item.name for item in dataclasses.fields(current)}
            known |= names
            changes = {name: value for name, value in values.items() if name in names}
            sections[section.name] = dataclasses.replace(current, **changes)
        if unknown := sorted(set(values) - known):
            raise ConfigError(_unknown_key(unknown[0], known))
        return type(self)(**sections)

    def arguments(self) -> list[str]:
        """The options that are not the defaults, as the command line takes them."""
        plain = type(self)()
        pairs = [(getattr(self, one.name), getattr(plain, one.name)) for one in dataclasses.fields(self)]
        chosen = [
            (item, getattr(section, item.name), getattr(default, item.name))
            for section, default in pairs
            for item in dataclasses.fields(section)
            if item.metadata["flags"] != NO_FLAG
        ]
        return [word for item, value, default in chosen if value != default for word in arguments_of(item, value)]

    def to_dict(self) -> dict[str, Any]:
        """Sections as plain dictionaries, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Read sections from plain dictionaries (JSON, TOML); an unknown section or key raises ConfigError."""
        return cls().override(flatten(values, cls))


@dataclass(frozen=True)
class LabelConfig(Section):
    """Which texts and labels, and how a classifier is made of an encoder."""

    text_column: str = option("text", "Column of the texts.")
    label_column: str = option("label", "Column of the labels.")
    valid: str | None = option(
        None, "File for validation, with the same columns (default: --valid-fraction of the training file)."
    )
    pooling: str = option(
        "concat",
        "What the output layer sees of a text: the last output, the mean, the largest values, or all three.",
        choices=("last", "mean", "max", "concat"),
    )
    tune: str = option(
        "full",
        "What is trained: the output layer alone (probe), all, or one more part from the top down each epoch.",
        choices=("probe", "full", "gradual"),
    )
    class_weights: str = option(
        "none",
        "Weights of the loss: none, or balanced, so that each class counts the same however many texts it has.",
        choices=("none", "balanced"),
    )
    classes: tuple[str, ...] | None = option(
        None, "Classes in the order of their numbers: those of the training file.", flags=NO_FLAG
    )


@dataclass(frozen=True)
class ClassifierConfig(Config):
    """All sections of a classifier's configuration. Of the others' options it takes those of ``OF_CLASSIFIERS``."""

    kind: ClassVar[str] = "classifier"
    command: ClassVar[str] = "lmkit classify train"
    unit: ClassVar[str] = "document"

    data: DataConfig = field(default_factory=lambda: DataConfig(tokenizer="word", min_count=2, test_fraction=0.0))
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(sampler="document", window=256))
    labels: LabelConfig = field(default_factory=LabelConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        for section in dataclasses.fields(self):
            chosen, default = getattr(self, section.name), cast(Any, section.default_factory)()
            for item in dataclasses.fields(chosen):
                differs = getattr(chosen, item.name) != getattr(default, item.name)
                if differs and not self.takes(section.name, item.name):
                    raise ConfigError(f"{flag_of(item)} does not go with a classifier: leave it out.")

    @staticmethod
    def takes(section: str, name: str) -> bool:
        """Whether an option of a section is one of a classifier's."""
        return section not in OF_CLASSIFIERS or name in OF_CLASSIFIERS[section]


KINDS: dict[str, type[Config]] = {kind.kind: kind for kind in (Config, ClassifierConfig)}


def flatten(values: Mapping[str, Any], kind: type[Config] = Config) -> dict[str, Any]:
    """``{"model": {"cell": "gru"}}`` -> ``{"cell": "gru"}``, refusing sections and keys that do not exist."""
    sections = {item.name: item for item in dataclasses.fields(kind)}
    defaults = kind()
    fields = {name: {item.name for item in dataclasses.fields(getattr(defaults, name))} for name in sections}
    flat: dict[str, Any] = {}
    for name, content in values.items():
        if name not in sections:
            raise ConfigError(_unknown_key(f"[{name}]", {f"[{section}]" for section in sections}))
        if not isinstance(content, Mapping):
            raise ConfigError(f"[{name}] must be a table of options.")
        known = fields[name]
        if unknown := sorted(set(content) - known):
            home = next((section for section, names in fields.items() if unknown[0] in names), None)
            if home is not None:
                raise ConfigError(f"The option {unknown[0]} belongs in [{home}], not in [{name}].")
            raise ConfigError(_unknown_key(unknown[0], known))
        flat.update(content)
    return flat


def _unknown_key(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name[:80], sorted(known), n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}."
    shown = name if len(name) <= 80 and name.isprintable() else f"{name[:80]!r}"
    return f"Unknown option {shown}: {hint}"


def _filled(section: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a section, with a default where one is None."""
    chosen = {name: getattr(section, name) for name in defaults}
    return {name: default if chosen[name] is None else chosen[name] for name, default in defaults.items()}


def _check_owned(section: Any, owner: str, table: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ConfigError for an option that the chosen value of ``owner`` does not have, by the table of those that it
    does.
    """
    kind = getattr(section, owner)
    for item in dataclasses.fields(section):
        takers = [name for name, options in table.items() if item.name in options]
        if takers and getattr(section, item.name) is not None and kind not in takers:
            raise ConfigError(f"{flag_of(item)} needs --{owner} {alternatives(takers)}: {kind} does not have it.")
