"""The command `poolctl` itself: global options, and the last word on every error."""

import io
import os
import sys

try:
    from pathlib import Path
    from typing import Any, NoReturn

    import click

    from poolctl.completion import VARIABLE, attach
    from poolctl.config import Session
    from poolctl.datastore.commands import datastore
    from poolctl.doctor.commands import COMMANDS as DOCTOR
    from poolctl.ipam.commands import ipam
    from poolctl.ipam.insights import COMMANDS as INSIGHTS
    from poolctl.migrate.commands import migrate
    from poolctl.node.commands import node
    from poolctl.node.fleet import COMMANDS as FLEET
    from poolctl.report import (
        INTERRUPTED,
        NOBODY_READS,
        REFUSED,
        complain,
        failed,
        interrupted,
        untold,
    )
    from poolctl.resources.commands import COMMANDS as RESOURCES
    from poolmgr import __version__
    from poolmgr.errors import InvalidRequestError, PoolmgrError
except KeyboardInterrupt:  # These take most of the time that --help takes.
    sys.exit(130)

_LONGEST_TIMEOUT_S = 86_400

_EPILOG = """
\b
Environment:
  ETCD_ENDPOINTS                  http://HOST:PORT or https://HOST:PORT, comma-separated
  ETCD_CA_CERT_FILE               who signs the servers' certificates
  ETCD_CERT_FILE, ETCD_KEY_FILE   the client's certificate and key
  ETCD_USERNAME, ETCD_PASSWORD    where etcd wants a password
  NO_COLOR                        no colours, not even on a terminal

\b
Exit status:
  0  fine
  1  refused: a manifest, a name or a configuration is wrong, the present state
     does not allow it, or stored data is broken
  2  usage: the command line is wrong
  3  etcd is unavailable or refuses
  4  the outcome of a write is unknown
  5  a check found something wrong
  130  interrupted; a write that was under way may have happened
  141  nobody reads the output any more, as after | head
"""


class _Poolctl(click.Group):
    """A group whose errors are one line on stderr and an exit status, whatever happens."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run a command line, and exit."""
        kwargs |= {"standalone_mode": False, "prog_name": "poolctl"}
        if sys.stdout is None:  # type: ignore[redundant-expr, unused-ignore] # >&-
            complain("standard output is closed; say >/dev/null if nobody shall see it")
            sys.exit(REFUSED)
        try:
            code = super().main(*args, **kwargs)
        except click.UsageError as error:
            where = f"; see '{error.ctx.command_path} --help'" if error.ctx else ""
            complain(error.format_message().rstrip(".") + where)
            code = error.exit_code
        except click.ClickException as error:
            complain(error.format_message())
            code = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            code = INTERRUPTED
        except OSError as error:
            complain(f"{error.filename or 'standard output'}: {error.strerror}")
            sys.stdout = io.StringIO()  # Writing the rest at exit would fail again.
            code = REFUSED
        except (RecursionError, MemoryError):
            complain("the input, or what is stored, is nested too deeply or too large")
            code = REFUSED
        except Exception as error:  # noqa: BLE001 - a traceback helps nobody at a prompt
            complain(f"this is a fault in poolctl, please report it: {error!r}")
            code = REFUSED
        sys.exit(code or 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; its session knows what to advise about an error."""
        try:
            status = super().invoke(ctx)
        except PoolmgrError as error:
            status = failed(error, ctx.obj)
        except (click.Abort, KeyboardInterrupt):
            if ctx.obj is not None:
                interrupted(ctx.obj)
            raise
        except BrokenPipeError as error:
            if error.filename is not None:
                raise
            sys.stdout = io.StringIO()  # Writing the rest at exit would fail again.
            status = NOBODY_READS
        return max(status or 0, untold(ctx.obj))


def _endpoints(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> str | None:
    from poolmgr.store.settings import Settings

    try:
        if text is not None:
            Settings.parse(text)
    except InvalidRequestError as error:
        raise click.BadParameter(str(error)) from None
    return text


def _timeout(
    _context: click.Context, _option: click.Parameter, seconds: float | None
) -> float | None:
    if seconds is not None and not 0 < seconds <= _LONGEST_TIMEOUT_S:  # "nan" is neither
        raise click.BadParameter(f"must be more than 0 and at most {_LONGEST_TIMEOUT_S:,}")
    return seconds


@click.group(
    cls=_Poolctl,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="File to use, not /etc/poolmgr/poolmgr.cfg or /etc/calico/calicoctl.cfg; ignored "
    "where ETCD_ENDPOINTS is set.",
)
@click.option(
    "--etcd-endpoints", metavar="URLS", callback=_endpoints, help="Overrides ETCD_ENDPOINTS."
)
@click.option(
    "--timeout",
    type=float,
    callback=_timeout,
    metavar="SECONDS",
    help="Time for the whole command.  [default: 30 for each step, more where all is read]",
)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Tell on stderr what etcd is asked, and how long its answer takes.",
)
# Scripts for calicoctl say so; which version Calico's own programs have matters to them only.
@click.option("--allow-version-mismatch", is_flag=True, hidden=True, expose_value=False)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def main(
    context: click.Context,
    config: Path | None,
    etcd_endpoints: str | None,
    timeout: float | None,
    verbose: bool,
) -> None:
    """
    Manage address pools, nodes and addresses that are stored in etcd.

    etcd is named by ETCD_ENDPOINTS in the environment, or else by a configuration file.

    \b
    Examples:
      poolctl apply -f pool.yaml
      poolctl get ippools -o yaml
      poolctl ipam show --show-blocks
      poolctl doctor
    """
    if context.obj is None:
        context.obj = Session(config, etcd_endpoints, timeout, verbose=verbose)
        context.call_on_close(context.obj.close)


for _group, _commands in (
    (main, (*RESOURCES, ipam, node, datastore, migrate, *DOCTOR)),
    (ipam, INSIGHTS),
    (node, FLEET),
):
    for _command in _commands:
        _group.add_command(_command)
if VARIABLE in os.environ:
    attach(main)

if __name__ == "__main__":
    main()
