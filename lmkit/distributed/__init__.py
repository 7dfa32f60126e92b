"""Several processes that train or measure one model together, on the machines that torchrun has started them on."""
