"""A network as a dynamical system: what its state does while the same token comes again and again."""
