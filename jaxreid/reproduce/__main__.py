"""Tables: see `runs`; claims: see `claims`."""

import sys

from jaxreid import command_line
from jaxreid.reproduce import claims, runs

if __name__ == '__main__':
    of_claims = sys.argv[1:2] == ['claims']
    run, argv = (claims.run, sys.argv[2:]) if of_claims else (runs.run, sys.argv[1:])
    sys.exit(command_line.run(lambda: run(argv)))
