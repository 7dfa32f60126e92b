"""Looking inside a network: gradients by lag, memory, gates, attention, dynamics. Values, no pictures.

Each function takes a ``LanguageModel`` and tensors of tokens and states, works with any cell, and gives frozen
dataclasses of arrays with a ``to_dict`` for JSON. ``Inspector`` does the same for texts of a tokenizer.
"""

from lmkit.inspection.activity.activity import Activity, read_activity
from lmkit.inspection.activity.attention import AttentionByLag, attention_by_lag
from lmkit.inspection.activity.following import Following, units_that_follow
from lmkit.inspection.activity.quantities import QUANTITIES, inside_brackets, inside_quotes, position_in_line
from lmkit.inspection.change import Change, parameter_change
from lmkit.inspection.dynamics.dynamics import Dynamics, constant_dynamics
from lmkit.inspection.dynamics.lyapunov import Exponent, largest_exponent
from lmkit.inspection.finding import Finding
from lmkit.inspection.gradients.norms import GradientNorms, gradient_norms
from lmkit.inspection.gradients.sensitivity import Norms, Sensitivity, measure_sensitivity, token_influence
from lmkit.inspection.gradients.spectra import Spectrum, recurrent_spectra
from lmkit.inspection.inspector import Inspector
from lmkit.inspection.memory.context import Context, measure_context
from lmkit.inspection.memory.forgetting import Distance, Forgetting, measure_forgetting
from lmkit.inspection.memory.memory import Memory, Recall, measure_memory, recall
from lmkit.inspection.memory.probe import Probe, fit_probe
from lmkit.inspection.untrained import untrained_twin

__all__ = [
    "QUANTITIES",
    "Activity",
    "AttentionByLag",
    "Change",
    "Context",
    "Distance",
    "Dynamics",
    "Exponent",
    "Finding",
    "Following",
    "Forgetting",
    "GradientNorms",
    "Inspector",
    "Memory",
    "Norms",
    "Probe",
    "Recall",
    "Sensitivity",
    "Spectrum",
    "attention_by_lag",
    "constant_dynamics",
    "fit_probe",
    "gradient_norms",
    "inside_brackets",
    "inside_quotes",
    "largest_exponent",
    "measure_context",
    "measure_forgetting",
    "measure_memory",
    "measure_sensitivity",
    "parameter_change",
    "position_in_line",
    "read_activity",
    "recall",
    "recurrent_spectra",
    "token_influence",
    "units_that_follow",
    "untrained_twin",
]
