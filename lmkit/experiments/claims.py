"""What the classic teaching of recurrent networks claims, a sentence each, as strong as it is taught."""

from __future__ import annotations

__all__ = ["CLAIMS"]

CLAIMS: dict[int, str] = {
    1: "A sequence is learnt in its direction: forward is easy, backward is hard.",
    2: "The hidden state represents the inputs so far and changes after each word.",
    3: "Only a loop that passes the state on gives a network memory.",
    4: "After a few words the information of the first ones is almost gone.",
    5: "As the gap grows, recurrent networks become unable to connect what belongs together.",
    6: "A recurrent network remembers no more than about a hundred steps.",
    7: "Squashing makes the first words fade, and the most recent one weighs most.",
    8: "Attention cures forgetting: the most important word may be the first, a middle one or the last.",
    9: "The state is a memory that adds the previous state and the new input.",
    10: "Inputs shrink at each step, as 0.1 x 0.1 x 0.1 x 0.1 = 0.0001.",
    11: "Gradients vanish where the largest eigenvalue is below 1 and explode where it is above.",
    12: "Clipping controls vanishing gradients, and gates cure exploding ones.",
    13: "ReLU, an identity matrix and gates each help against vanishing; gates are the most effective.",
    14: "Gradients explode because of the number of calculations, and long windows are expensive.",
    15: "Gradients shrink exponentially through layers, and the earlier layers fail to learn.",
    16: "Fixed truncation is the standard; variable lengths with reweighing work no better in practice.",
    17: "Sequential sampling with a carried state is much more accurate than random sampling.",
    18: "The order of the training text affects the model.",
    19: "Gates forget what is irrelevant, store what is relevant and filter the output.",
    20: "A GRU is smaller and slightly faster than an LSTM, and about as good.",
    21: "The sigmoid lets the forget gate swing between positive and negative numbers.",
    22: "The state depends on the input of the step before, or of this one: two conventions.",
    23: "A layer takes the outputs of the layer below and its own state: depth helps.",
    24: "A recurrent network can oscillate, settle, behave chaotically, or count.",
    25: "Transformers have made recurrent networks virtually obsolete.",
    26: "Recurrent networks need much less data for the same quality, and gain faster from more.",
    27: "Characters leave spelling out, words cost large vocabularies, byte pairs are between.",
    28: "Outputs are fed back as inputs, drawn in proportion to exp of the scores.",
    29: "Likelihoods of texts of different length are comparable only per token.",
    30: "Perplexity is the number of choices that a model has on average.",
    31: "The last output of an encoder tells what a text is about.",
    32: "The state maps words to abstract concepts such as parts of speech.",
}
