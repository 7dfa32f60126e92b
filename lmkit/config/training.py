"""The section of the training: how the network is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lmkit.config.bounds import MAX_SPAN
from lmkit.config.optimization import AVERAGES, OPTIMIZERS, SCHEDULES
from lmkit.config.owned import check_owned, filled
from lmkit.config.truncation import JITTER_REACH, OF_WINDOWS, SAMPLER_STATES, TRUNCATION_PAIRS, TRUNCATIONS
from lmkit.errors import ConfigError
from lmkit.fields import Section, alternatives, option

__all__ = ["TrainingConfig"]


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
        check_owned(self, "optimizer", OPTIMIZERS)
        check_owned(self, "average", AVERAGES)
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
        check_owned(self, "truncation", TRUNCATIONS)
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
        options = filled(self, OPTIMIZERS[self.optimizer])
        return options | ({"muon_lr": self.muon_lr or self.lr} if "muon_lr" in options else {})

    @property
    def truncation_options(self) -> dict[str, Any]:
        """The options of the style of truncation, with its defaults filled in."""
        options = filled(self, TRUNCATIONS[self.truncation])
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
        return filled(self, AVERAGES[self.average])

    @property
    def epoch_limit(self) -> int | None:
        """Epochs after which training stops, with the default filled in; None where steps or seconds end it."""
        if self.epochs is None and self.max_steps is None and self.max_seconds is None:
            return 15
        return self.epochs
