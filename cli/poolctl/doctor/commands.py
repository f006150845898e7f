"""The commands `poolctl doctor`, `poolctl version` and `poolctl completion`."""

from pathlib import Path

import click

from poolctl.completion import SHELLS, script
from poolctl.config import Session
from poolctl.options import bin_dirs_option, conf_dir_option, output_option
from poolctl.report import FOUND, UNAVAILABLE, complain


@click.command()
@click.option(
    "--kubeconfig", metavar="FILE", help="Ask the Kubernetes API that this file names, too."
)
@conf_dir_option
@bin_dirs_option
@output_option
@click.pass_obj
def doctor(
    session: Session,
    kubeconfig: str | None,
    conf_dir: Path,
    bin_dirs: tuple[Path, ...],
    output: str,
) -> int:
    """
    Find what is wrong, and what to do about it.

    It looks at the settings, at etcd, at what is stored there, and at this host's networks.
    Nothing is changed.

    Exit status: 5 when a problem was found; warnings, and what is not known, are 0.

    \b
    Examples:
      poolctl doctor
      poolctl --etcd-endpoints https://etcd-1:2379,https://etcd-2:2379 doctor
      poolctl doctor -o json | jq '.findings[] | select(.verdict == "problem")'
    """
    from poolctl.doctor.examine import examine
    from poolctl.doctor.findings import Verdict, rendered
    from poolctl.terminal import show

    findings = list(examine(session, conf_dir, bin_dirs, kubeconfig))
    show(rendered(findings, output))
    return FOUND if any(each.verdict is Verdict.PROBLEM for each in findings) else 0


@click.command()
@click.option("--cluster", is_flag=True, help="Ask etcd for the cluster's and its own, too.")
@output_option
@click.pass_obj
def version(session: Session, cluster: bool, output: str) -> int:
    """
    Tell versions of poolctl, cluster and etcd.

    Without --cluster nobody is asked.

    \b
    Examples:
      poolctl version
      poolctl version --cluster -o yaml
    """
    from poolctl.version import rendered, versions

    found = versions(session, cluster=cluster)
    click.echo(rendered(found, output))
    if "clusterError" not in found:
        return 0
    complain(found["clusterError"])
    return UNAVAILABLE


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """
    Print the script by which a shell completes.

    Names of resources, pools and nodes are asked of etcd, for a second at most.

    \b
    For this shell only:
      source <(poolctl completion bash)
      source <(poolctl completion zsh)
      poolctl completion fish | source

    \b
    For all to come:
      poolctl completion bash > /etc/bash_completion.d/poolctl
      poolctl completion zsh > "${fpath[1]}/_poolctl"
      poolctl completion fish > ~/.config/fish/completions/poolctl.fish
    """
    click.echo(script(shell))


COMMANDS = (doctor, version, completion)
