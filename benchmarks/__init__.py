"""Side-by-side measurements: cnnlib against the same network in plain torch.nn. `make bench` runs them."""
