"""The commands under `poolctl datastore`."""

import click


@click.group(no_args_is_help=False)
def datastore() -> None:
    """Copy, restore, lock and unlock everything that is stored."""
