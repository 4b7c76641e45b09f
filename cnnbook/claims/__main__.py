"""`python -m cnnbook.claims` computes every value of the ledger again and prints a table.

The exit status is 1 if one of them is not what the ledger says. Words given on the command line choose the claims
whose id contains one of them; a word that none contains is an error.
"""

import sys
from collections import Counter

from cnnbook.claims import VERDICTS, agrees, compute, every_claim, load


def main(words: list[str]) -> int:
    """Print a line a claim; return the exit status."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    every = [claim for _, claim in every_claim(load())]
    if unknown := [word for word in words if not any(word in claim.id for claim in every)]:
        print(f"no claim's id contains {' or '.join(unknown)}", file=sys.stderr)
        return 2
    chosen = [claim for claim in every if not words or any(word in claim.id for word in words)]
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
        print(f"{claim.id:32} {claim.verdict:13} {result}")
    counts = Counter(claim.verdict for claim in chosen)
    computed = sum(bool(claim.compute) for claim in chosen)
    print(f"\n{len(chosen)} claims:", ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS))
    print(f"{computed} computed, of which {failed} failed; {len(chosen) - computed} by source")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
