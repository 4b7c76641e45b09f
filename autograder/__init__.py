"""Grade homework notebooks that strangers wrote: answers run in a sandbox, results are compared outside."""
