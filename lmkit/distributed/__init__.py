"""Several processes that train one model together, on the machines that torchrun has started them on."""
