"""The network: state, cells, recurrent stack, output layers, language model. It knows nothing of data or tokenizers."""
