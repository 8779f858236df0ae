"""See `runs`."""

from jaxreid.reproduce import runs

if __name__ == '__main__':
    runs.main()
