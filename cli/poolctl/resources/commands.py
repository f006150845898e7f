"""The commands that read and write resources."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from poolctl.config import Session
from poolctl.options import dry_run_option, yes_option
from poolctl.report import say
from poolctl.resources.options import (
    as_calicoctl,
    files,
    kind_named,
    kubeconfig_option,
)
from poolmgr.errors import InvalidRequestError

if TYPE_CHECKING:
    from poolctl.resources.changes import How
    from poolctl.resources.render import Output
    from poolmgr.api import Resource


@click.command()
@files(required=True)
@click.option("--skip-exists", is_flag=True, help="Leave alone what exists already.")
@kubeconfig_option
@dry_run_option
@click.pass_obj
def create(
    session: Session,
    /,
    skip_exists: bool,
    kubeconfig: str | None,
    dry_run: bool,
    **given: Any,
) -> int:
    """
    Create resources that do not exist yet.

    All are checked first; if one is refused, none is created.

    \b
    Examples:
      poolctl create -f pool.yaml
      poolctl create -R -f manifests/ --skip-exists
    """
    from poolctl.resources.plans import Planner

    how = partial(Planner.create, skip_exists=skip_exists)
    again = "; go on with --skip-exists"
    return _change(session, given, how, kubeconfig=kubeconfig, dry_run=dry_run, again=again)


@click.command()
@files(required=True)
@kubeconfig_option
@dry_run_option
@click.pass_obj
def apply(session: Session, /, kubeconfig: str | None, dry_run: bool, **given: Any) -> int:
    """
    Create resources, or update them where they exist.

    All are checked first; if one is refused, nothing is changed. What `poolctl get -o yaml`
    shows can be applied again; its resourceVersion must then be the stored one still.

    \b
    Examples:
      poolctl apply -f pool.yaml
      poolctl get ippools -o yaml | poolctl apply -f -
      poolctl apply -f pool.yaml --kubeconfig ~/.kube/config --dry-run
    """
    from poolctl.resources.plans import Planner

    return _change(session, given, Planner.apply, kubeconfig=kubeconfig, dry_run=dry_run)


@click.command()
@files(required=True)
@dry_run_option
@click.pass_obj
def replace(session: Session, /, dry_run: bool, **given: Any) -> int:
    """
    Update resources that exist.

    All are checked first; if one is refused, nothing is changed.

    \b
    Examples:
      poolctl replace -f pool.yaml
    """
    from poolctl.resources.plans import Planner

    return _change(session, given, Planner.replace, dry_run=dry_run)


@click.command()
@files(required=True)
@click.pass_obj
def validate(_session: Session, /, **given: Any) -> int:
    """
    Check manifests by themselves: no etcd is needed.

    \b
    Examples:
      poolctl validate -f pool.yaml
      poolctl validate -R -f manifests/
    """
    from poolctl.resources.documents import distinct, resources
    from poolctl.resources.plans import validated

    found = distinct(resources(**given))
    status = validated(found)
    if not status:
        for each in found:
            say(f"{each.ref} valid")
    return status


@click.command()
@click.argument("kind", callback=kind_named)
@click.argument("name")
@click.option("-p", "--patch", "text", required=True, metavar="PATCH", help="JSON or YAML.")
@click.option(
    "-t",
    "--type",
    "type_",
    type=click.Choice(["strategic", "merge", "json"]),
    default="strategic",
    show_default=True,
    help="strategic: merge, but $patch in an object may say replace or delete; merge: RFC "
    "7386; json: operations of RFC 6902. All of them replace lists.",
)
@dry_run_option
@as_calicoctl
@click.pass_obj
def patch(
    session: Session, kind: "type[Resource]", name: str, text: str, type_: str, dry_run: bool
) -> int:
    """
    Change some fields of a resource.

    \b
    Examples:
      poolctl patch ippool pool-a -p '{"spec": {"disabled": true}}'
      poolctl patch ippool pool-a -t json -p '[{"op": "remove", "path": "/metadata/labels"}]'
    """
    from poolctl.resources.changes import Changes
    from poolctl.resources.patch import parsed, patched
    from poolctl.resources.state import Target

    wanted = parsed(text, type_)
    return Changes(session, dry_run=dry_run).edit(
        Target(kind=kind, name=name),
        lambda stored: patched(stored, wanted, type_),
        verbs=("patched", "unchanged"),
    )


@click.command()
@click.argument("kind", callback=kind_named)
@click.argument("name")
@click.argument("words", nargs=-1, required=True, metavar="KEY=VALUE|KEY-...")
@click.option("--overwrite", is_flag=True, help="Change labels that have another value.")
@click.option("--remove", is_flag=True, help="Remove the labels; name keys only.")
@dry_run_option
@as_calicoctl
@click.pass_obj
def label(
    session: Session,
    /,
    kind: "type[Resource]",
    name: str,
    words: tuple[str, ...],
    **flags: bool,
) -> int:
    """
    Set or remove labels of a resource.

    \b
    Examples:
      poolctl label node node-a rack=r1 zone=a
      poolctl label node node-a rack=r2 --overwrite
      poolctl label node node-a rack-
    """
    from poolctl.resources.changes import Changes
    from poolctl.resources.labels import relabelled, wanted
    from poolctl.resources.state import Target

    if flags["overwrite"] and flags["remove"]:
        raise click.UsageError("give either --overwrite or --remove")
    try:
        labels = wanted(words, remove=flags["remove"])
    except InvalidRequestError:
        raise
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return Changes(session, dry_run=flags["dry_run"]).edit(
        Target(kind=kind, name=name),
        lambda stored: relabelled(stored, labels, overwrite=flags["overwrite"]),
        verbs=("labeled" if {*labels.values()} - {None} else "unlabeled", "not labeled"),
    )


@click.command()
@click.argument("kind", required=False, callback=kind_named)
@click.argument("names", nargs=-1)
@files(required=False)
@click.option("-s", "--skip-not-exists", is_flag=True, help="Absent ones are no error.")
@yes_option
@dry_run_option
@click.pass_obj
def delete(
    session: Session,
    /,
    kind: "type[Resource] | None",
    names: tuple[str, ...],
    skip_not_exists: bool,
    yes: bool,
    dry_run: bool,
    **given: Any,
) -> int:
    """
    Delete resources, by kind and names or by manifests.

    Of names, those that exist are deleted; of manifests, all or none. A pool is disabled
    first, then its blocks are taken from their nodes; addresses that are assigned stay so,
    which a terminal is asked about.

    \b
    Examples:
      poolctl delete ippool pool-a pool-b
      poolctl delete -f pool.yaml --skip-not-exists
    """
    from poolctl.resources.changes import Deletions
    from poolctl.resources.documents import resources
    from poolctl.resources.state import Target

    if bool(kind and names) == bool(given["filenames"]) or (kind and given["filenames"]):
        raise click.UsageError("give either a kind and names, or -f")
    if kind:
        targets = [Target(kind=kind, name=name) for name in names]
    else:
        targets = [Target.of(each) for each in resources(**given)]
    deletions = Deletions(session, skip_absent=skip_not_exists, dry_run=dry_run, yes=yes)
    return deletions.delete(targets, together=not kind)


@click.command()
@click.argument("kind", callback=kind_named)
@click.argument("names", nargs=-1)
@click.option(
    "-o",
    "--output",
    "form",
    default="table",
    show_default=True,
    metavar="FORM",
    help="table (or ps), wide, yaml, json, name, custom-columns=COLUMNS (headings of the wide "
    "table, or HEADING:.path) or jsonpath=TEMPLATE.",
)
@click.option("--export", is_flag=True, help="Without uid, version and times; needs names.")
@click.option("-w", "--watch", is_flag=True, help="Then go on to tell what changes.")
@as_calicoctl
@click.pass_obj
def get(
    session: Session,
    kind: "type[Resource]",
    names: tuple[str, ...],
    form: str,
    export: bool,
    watch: bool,
) -> int:
    """
    Show resources of a kind.

    Kinds: ippools, ipreservations, nodes, clusterinformation, ipamconfiguration, and
    blockaffinities, which say what node a block of addresses belongs to.

    With --watch it looks every second, until it is interrupted or the time of --timeout, if
    that is given, is over.

    \b
    Examples:
      poolctl get ippools -o wide
      poolctl get node node-a node-b --export -o yaml
      poolctl get ipp -o custom-columns=NAME,SIZE:.spec.blockSize
      poolctl get ipp -o 'jsonpath={range .items[*]}{.metadata.name} {end}'
    """
    from poolctl.resources.reading import Reader
    from poolctl.resources.render import Output

    if export and not names:
        raise click.UsageError("--export needs the names of resources")
    try:
        output = Output.of(kind, form, export=export)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="-o") from None
    if watch and output.form == "jsonpath":
        raise click.UsageError("--watch cannot fill in a template for what changes")
    reader = Reader(session, kind)
    resources = reader.named(names) if names else reader.everything()
    if resources or not names:
        single = len(set(names)) == 1
        for chunk in output.chunks(resources, revision=reader.revision, single=single):
            click.echo(chunk, nl=output.form != "jsonpath")
    status = reader.status()
    if watch:
        _watch(session, output, names, reader.revision)
    return status


COMMANDS = (create, apply, replace, patch, label, delete, get, validate)


def _watch(session: Session, output: "Output", names: tuple[str, ...], since: int) -> None:
    """Tell changes; there is no end but that of --timeout."""
    from poolctl.resources.watch import Watch

    watch = Watch(session, output, names=names, since=since)
    watch.run(over=lambda: not session.left_s)


def _change(
    session: Session,
    given: dict[str, Any],
    how: "How",
    *,
    dry_run: bool,
    kubeconfig: str | None = None,
    again: str = "",
) -> int:
    """Change what the manifests name."""
    from poolctl.resources.changes import Changes
    from poolctl.resources.checks import warn_of_overlaps
    from poolctl.resources.documents import distinct, resources

    return Changes(session, dry_run=dry_run).change(
        distinct(resources(**given)),
        how,
        before=partial(warn_of_overlaps, session, kubeconfig=kubeconfig),
        again=again,
    )
