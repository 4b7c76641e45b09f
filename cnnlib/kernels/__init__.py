"""Fast versions of the hot operations, each held equal to the readable source in `cnnlib.functional` by a test."""
