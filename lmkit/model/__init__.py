"""The network: state, cells, recurrent stack, output layers, language model. It knows nothing of data or tokenizers.

Letters of shapes in docstrings, and at the end of names where a layout matters (``hidden_TBD``): B rows (the batch), T
steps of a window, V vocabulary, E size of an embedding or of a layer's inputs, H hidden units, D outputs of a layer, P
projected inputs of a cell, M positions that attention remembers, C entries of an adaptive softmax's head, L layers, N
tokens or rows of any kind. Names of one letter are those of a cell's equations.
"""
