"""`python -m claims` computes every value of the ledger again and prints a table.

The exit status is 1 if one of them is not what the ledger says. Words given on the command line choose the claims
whose id contains one of them.
"""

import sys
from collections import Counter

from claims import VERDICTS, agrees, claims, compute, load


def main(words: list[str]) -> int:
    """Print a line a claim; return the exit status."""
    chosen = [claim for _, claim in claims(load()) if not words or any(word in claim.id for word in words)]
    if not chosen:
        print(f"no claim's id contains {' or '.join(words)}", file=sys.stderr)
        return 2
    failed = 0
    for claim in chosen:
        if not claim.compute:
            result = f"source  {', '.join(claim.source)}"
        else:
            try:
                found = compute(claim)
            except Exception as error:  # whatever goes wrong in the code, the other claims are still to be checked
                found = f"{type(error).__name__}: {error}"
            good = agrees(found, claim.value)
            failed += not good
            result = f"pass    {claim.value}" if good else f"FAIL    {found}, and the ledger says {claim.value}"
        print(f"{claim.id:32} {claim.verdict:9} {result}")
    counts = Counter(claim.verdict for claim in chosen)
    computed = sum(bool(claim.compute) for claim in chosen)
    print(f"\n{len(chosen)} claims:", ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS))
    print(f"{computed} computed, of which {failed} failed; {len(chosen) - computed} by source")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
