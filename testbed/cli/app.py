"""The `testbed` command and its groups."""

from testbed.cli import boards, catalogue, processes, radios, runs, sweeps
from testbed.cli.common import group

app = group("Distributed mixture-of-experts inference over real or simulated OFDM radios.")
for part in (runs.app, catalogue.app, sweeps.app, radios.app, processes.app):
    app.add_typer(part)
app.add_typer(boards.app, name="firmware")
