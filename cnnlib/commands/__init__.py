"""What `python -m cnnlib` does."""
