"""`python -m testbed`, and the `testbed` command."""

from testbed.cli import app


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
