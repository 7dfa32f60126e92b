"""The names of the cells, and which of them have what an option needs."""

from __future__ import annotations

__all__ = ["CELLS", "WITH_MATRICES", "WITH_REAL_STATES"]

CELLS = (
    *("rnn", "irnn", "gru", "lstm", "lnlstm", "mogrifier"),
    *("qrnn", "sru", "mingru", "minlstm", "rglru", "slstm", "mlstm"),
    "transformer",
)
WITH_MATRICES = ("rnn", "irnn", "gru", "lstm", "lnlstm", "mogrifier", "slstm")  # from the state to the gates
# Cells of whose states each number means something from the first step on, and none is a count or a stabiliser.
WITH_REAL_STATES = (
    *("rnn", "irnn", "gru", "lstm", "lnlstm", "mogrifier"),
    *("qrnn", "sru", "mingru", "minlstm", "rglru"),
)
