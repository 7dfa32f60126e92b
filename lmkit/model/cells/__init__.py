"""The cells: one file each, from its equations, and one table of them. To add one, write its file and its line here.

Letters of shapes are those of ``lmkit.model``.
"""

from lmkit.model.cells.additive import AdditiveAttention
from lmkit.model.cells.cell import Cell, CellState
from lmkit.model.cells.gru import GRU
from lmkit.model.cells.irnn import IRNN
from lmkit.model.cells.lnlstm import LayerNormLSTM
from lmkit.model.cells.lstm import LSTM
from lmkit.model.cells.mingru import MinGRU
from lmkit.model.cells.minlstm import MinLSTM
from lmkit.model.cells.mlstm import MLSTM
from lmkit.model.cells.mogrifier import Mogrifier
from lmkit.model.cells.output_attention import OutputAttention
from lmkit.model.cells.qrnn import QRNN
from lmkit.model.cells.rglru import RGLRU
from lmkit.model.cells.rnn import RNN
from lmkit.model.cells.single_head import SingleHeadAttention
from lmkit.model.cells.slstm import SLSTM
from lmkit.model.cells.sru import SRU
from lmkit.model.cells.transformer import Transformer

__all__ = ["ATTENTIONS", "CELLS", "Cell", "CellState"]

CELLS: dict[str, type[Cell]] = {
    "rnn": RNN,
    "irnn": IRNN,
    "gru": GRU,
    "lstm": LSTM,
    "lnlstm": LayerNormLSTM,
    "mogrifier": Mogrifier,
    "qrnn": QRNN,
    "sru": SRU,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "rglru": RGLRU,
    "slstm": SLSTM,
    "mlstm": MLSTM,
    "transformer": Transformer,
}
ATTENTIONS: dict[str, type[OutputAttention]] = {"sha": SingleHeadAttention, "bahdanau": AdditiveAttention}
