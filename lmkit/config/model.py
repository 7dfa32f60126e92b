"""The section of the model: the shape of the network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lmkit.config.bounds import MAX_SPAN, MAX_WIDTH
from lmkit.config.cells import CELLS, WITH_MATRICES, WITH_REAL_STATES
from lmkit.errors import ConfigError
from lmkit.fields import Section, alternatives, flag_of, option

__all__ = ["REGULARISERS", "ModelConfig"]

# Options of the network that act in training alone, so that a fine-tuning may choose them anew.
REGULARISERS = (
    *("dropout", "embedding_dropout", "layer_dropout", "output_dropout", "locked_dropout"),
    *("embedding_type_dropout", "weight_drop", "kernel"),
)


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
    timescales: str | None = option(
        None,
        "How long units remember at the start: from one step on, or the long times of the papers (default: wide).",
        choices=("wide", "paper"),
        cells=("rglru", "slstm", "mlstm"),
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
