"""The cells: one file each, from its equations, and one table of them. To add one, write its file and its line here.

Letters of shapes: T steps of a window, B rows, E size of the inputs, P of the projected inputs, D of the outputs, H
units.
"""

from lmkit.model.cells.cell import Cell, CellState
from lmkit.model.cells.gru import GRU
from lmkit.model.cells.irnn import IRNN
from lmkit.model.cells.lstm import LSTM
from lmkit.model.cells.rnn import RNN

__all__ = ["CELLS", "Cell", "CellState"]

CELLS: dict[str, type[Cell]] = {"rnn": RNN, "irnn": IRNN, "gru": GRU, "lstm": LSTM}
