"""See `command`."""

import sys

from jaxreid.evaluation.report import command

if __name__ == '__main__':
    sys.exit(command.run(sys.argv[1:]))
