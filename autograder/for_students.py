"""`python -m autograder try FILE` where only this much of the autograder is installed: the students' `__main__`."""

import sys

from autograder import dry_run

if sys.argv[1:2] != ["try"]:
    sys.exit("python -m autograder try FILE runs the answers of a notebook; grading takes the course's repository")
sys.exit(dry_run.main(sys.argv[2:]))
