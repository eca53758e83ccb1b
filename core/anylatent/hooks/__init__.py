"""What happens at the sites of a backbone besides its own computation: caches, routing, sparsity, probes."""
