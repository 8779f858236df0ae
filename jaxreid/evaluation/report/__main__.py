"""See `command`."""

from jaxreid.evaluation.report import command

if __name__ == '__main__':
    command.main()
