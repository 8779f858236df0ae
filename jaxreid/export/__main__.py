"""See `program`."""

import sys

from jaxreid.export import program

if __name__ == '__main__':
    sys.exit(program.run(sys.argv[1:]))
