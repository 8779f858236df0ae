"""See `collection`."""

import sys

from jaxreid.vector_engine import collection

if __name__ == '__main__':
    sys.exit(collection.run(sys.argv[1:]))
