"""`python -m testbed`, and the `testbed` command."""

import os

from testbed.cli.app import app


def main() -> None:
    """Run the command line.

    Matrices here are small and processes are many: one BLAS thread each is faster, and rounds alike everywhere.
    """
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    app()


if __name__ == "__main__":
    main()
