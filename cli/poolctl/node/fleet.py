"""The commands under `poolctl node` that look at all nodes, not at this host."""

import click

from poolctl.config import Session
from poolctl.options import dry_run_option, output_option, yes_option

_NAME = click.argument("name")


@click.command("list")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml", "name"]),
    default="table",
    show_default=True,
)
@click.pass_obj
def list_(session: Session, output: str) -> int:
    """
    List all nodes, with their blocks and addresses.

    A node is known by its Node resource, a block or an address. IN-USE, FREE, RESERVED and
    COOLING count addresses of its blocks, LENT those in use there by other nodes. FREE are
    neither in use nor reserved by an IPReservation, as in ipam show, which counts COOLING as in
    use. USED counts addresses that the node uses anywhere, BORROWED those of them that lie in
    no block of its own; what cools down, or waits for its sticky owner, is used by nobody.

    \b
    Examples:
      poolctl node list
      poolctl node list -o wide
      poolctl node list -o json
    """
    from poolctl.node.hosts import list_nodes

    return list_nodes(session, output)


@click.command()
@_NAME
@output_option
@click.pass_obj
def show(session: Session, name: str, output: str) -> int:
    """
    Tell what the node NAME has, and what it borrows of whom.

    \b
    Examples:
      poolctl node show node-a
      poolctl node show node-a -o yaml
    """
    from poolctl.node.hosts import show_node

    return show_node(session, name, output)


@click.command()
@_NAME
@dry_run_option
@yes_option
@click.pass_obj
def drain(session: Session, name: str, dry_run: bool, yes: bool) -> int:
    """
    Give up the empty blocks of the node NAME, which lives.

    Others can claim them then. Addresses in use are not touched: move the pods away first
    (kubectl drain), which also keeps the node from claiming blocks again. Blocks that are not
    empty stay the node's; they, and who has their addresses, are listed, and the exit status is
    1 until there are none.

    \b
    Examples:
      poolctl node drain node-a --dry-run
      poolctl node drain node-a --yes
    """
    from poolctl.node.drain import drain_node

    return drain_node(session, name, dry_run=dry_run, yes=yes)


@click.command()
@_NAME
@dry_run_option
@yes_option
@click.option("--force", is_flag=True, help="Do not look whether the node is alive.")
@click.option(
    "--kubeconfig", metavar="FILE", help="Refuse if Kubernetes still has a node of this name."
)
@click.pass_obj
def remove(
    session: Session,
    name: str,
    dry_run: bool,
    yes: bool,
    force: bool,
    kubeconfig: str | None,
) -> int:
    """
    Release all that the node NAME held, which is gone for good.

    Its Node resource is deleted, too. Every address that is recorded as used by the node is
    released, tunnel addresses and borrowed ones too; sticky ones are kept for their owners. Its
    blocks go, or stay with the addresses that other nodes use in them. A node that was given an
    address within the last five minutes seems alive, and is refused. It is safe to run this
    again, whatever happened.

    What Calico's own programs store of a node beside that (workload endpoints, BGP peers, Felix
    settings) stays: calicoctl delete node removes it.

    \b
    Examples:
      poolctl node remove node-a --dry-run
      poolctl node remove node-a --kubeconfig /etc/kubernetes/admin.conf --yes
    """
    from poolctl.node.remove import remove_node

    return remove_node(
        session, name, dry_run=dry_run, yes=yes, force=force, kubeconfig=kubeconfig
    )


@click.command()
@click.option(
    "--node",
    "name",
    metavar="NAME",
    help="Whose routes; else those of this host, named as for the CNI plugin.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["ip", "bird", "frr", "json"]),
    default="ip",
    show_default=True,
)
@click.pass_obj
def routes(session: Session, name: str | None, output: str) -> int:
    """
    Print the routes to the blocks of other nodes.

    A bridge or ptp network needs them. A block is reached through its node's address: spec.bgp,
    or else an InternalIP or CalicoNodeIP of spec.addresses, of the Node resource. Addresses
    that a node borrows have routes of their own. The nodes must be on one network segment.

    Routes of nodes without an address are left out; the exit status is 1 then.

    \b
    Examples:
      poolctl node routes | sh
      poolctl node routes --node node-a -o bird > /etc/bird/poolmgr.conf
    """
    from poolctl.node.routes import print_routes
    from poolmgr.cni.host import node_name

    return print_routes(session, name or node_name({}), output)


COMMANDS: tuple[click.Command, ...] = (list_, show, drain, remove, routes)
