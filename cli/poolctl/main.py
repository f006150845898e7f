"""The command `poolctl` itself: global options, and the last word on every error."""

import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from poolctl import ipam, node, resources
from poolctl.config import Session
from poolctl.report import REFUSED, complain, exit_code
from poolmgr import __version__
from poolmgr.errors import PoolmgrError

_INTERRUPTED = 130


class _Poolctl(click.Group):
    """A group whose errors are one line on stderr and an exit status, whatever happens."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        kwargs |= {"standalone_mode": False, "prog_name": "poolctl"}
        try:
            code = super().main(*args, **kwargs)
        except click.UsageError as error:
            where = f"; see '{error.ctx.command_path} --help'" if error.ctx else ""
            complain(error.format_message().rstrip(".") + where)
            code = error.exit_code
        except click.ClickException as error:
            complain(error.format_message())
            code = error.exit_code
        except PoolmgrError as error:
            complain(str(error))
            code = exit_code(error)
        except (click.Abort, KeyboardInterrupt):
            code = _INTERRUPTED
        except Exception as error:  # noqa: BLE001 - a traceback helps nobody at a prompt
            complain(f"this is a fault in poolctl, please report it: {error!r}")
            code = REFUSED
        sys.exit(code or 0)


@click.group(cls=_Poolctl, no_args_is_help=False)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="File to use, not /etc/poolmgr/poolmgr.cfg or /etc/calico/calicoctl.cfg.",
)
@click.option("--etcd-endpoints", metavar="URLS", help="Overrides ETCD_ENDPOINTS.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Time for the whole command.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def main(
    context: click.Context, config: Path | None, etcd_endpoints: str | None, timeout: float
) -> None:
    """
    Manage address pools, nodes and addresses that are stored in etcd.

    etcd is named by ETCD_ENDPOINTS in the environment, or else by a configuration file.
    """
    if context.obj is None:
        context.obj = Session(config, etcd_endpoints, timeout)
        context.call_on_close(context.obj.close)


for _command in (*resources.COMMANDS, ipam.ipam, node.node):
    main.add_command(_command)

if __name__ == "__main__":
    main()
