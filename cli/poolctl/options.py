"""Options that commands of several groups have."""

from pathlib import Path

import click


def named_file(
    _context: click.Context, _option: click.Parameter, value: str | tuple[str, ...] | None
) -> str | tuple[str, ...] | None:
    """Refuse a file without a name: a script's empty variable, which is no option left out."""
    if value == "" or (isinstance(value, tuple) and "" in value):
        raise click.BadParameter("a file must have a name")
    return value


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would happen.")
conf_dir_option = click.option(
    "--conf-dir",
    default="/etc/cni/net.d",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where the container runtime of this host reads network configurations.",
)
bin_dirs_option = click.option(
    "--bin-dir",
    "bin_dirs",
    multiple=True,
    default=["/opt/cni/bin"],
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where it looks for plugins. May repeat.",
)
