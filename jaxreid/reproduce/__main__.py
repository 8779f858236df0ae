"""Tables: see `runs`; claims: see `claims`."""

import sys

from jaxreid.reproduce import claims, runs

if __name__ == '__main__':
    (claims if sys.argv[1:2] == ['claims'] else runs).main()
