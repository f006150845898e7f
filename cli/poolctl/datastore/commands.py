"""The commands under `poolctl datastore`."""

from pathlib import Path

import click

from poolctl.config import Session
from poolctl.options import yes_option


@click.group(no_args_is_help=False)
def datastore() -> None:
    """
    Copy, restore, lock and unlock everything that is stored.

    Where everything is copied, --timeout is the time for each step, not for the whole.
    """


@datastore.group(no_args_is_help=False)
def migrate() -> None:
    """Lock, export, import, unlock: as calicoctl calls them."""


def _renames(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    """Read OLD=NEW."""
    from poolmgr.api.meta import NAME_RULE, is_name

    names: dict[str, str] = {}
    for text in texts:
        old, _, new = text.partition("=")
        if not old or not is_name(new):
            raise click.BadParameter(f"{text!r} is not OLD=NEW, where NEW has {NAME_RULE}")
        if old in names:
            raise click.BadParameter(f"{old} is given twice")
        names[old] = new
    return names


@datastore.command()
@click.pass_obj
def lock(session: Session) -> int:
    """
    Keep Calico's main plugin from starting and stopping pods.

    Whoever assigns addresses goes on doing so while it is locked, calico-ipam and poolmgr
    alike: the lock is ClusterInformation.spec.datastoreReady, which they do not heed. It is
    created where there is none.

    \b
    Examples:
      poolctl datastore lock
      poolctl datastore unlock
    """
    from poolctl.datastore.state import set_lock

    return set_lock(session, locked=True)


@datastore.command()
@click.pass_obj
def unlock(session: Session) -> int:
    """
    Let Calico's main plugin start and stop pods again.

    \b
    Examples:
      poolctl datastore unlock
    """
    from poolctl.datastore.state import set_lock

    return set_lock(session, locked=False)


@datastore.command("renew-epoch")
@yes_option
@click.pass_obj
def renew_epoch(session: Session, yes: bool) -> int:
    """
    Tell everybody that etcd was restored, by other means.

    Run it after `etcdctl snapshot restore`, or after the files of etcd were put back. A
    restored etcd counts its revisions on from old ones, so that what a node planned before the
    restore could be committed after it, and give an address twice. Every transaction of poolmgr
    compares the epoch, a random text; a new one makes all that was planned before fail, and be
    planned again. `poolctl datastore restore` and `import` renew it themselves.

    \b
    Examples:
      poolctl datastore renew-epoch
      poolctl datastore renew-epoch --yes
    """
    from poolctl.datastore.state import renew

    return renew(session, yes=yes)


@datastore.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write instead of stdout.",
)
@click.option(
    "--calico",
    is_flag=True,
    help="Call nodes what Kubernetes calls them (spec.orchRefs), as calicoctl's import wants.",
)
@click.option(
    "--rename",
    "renames",
    multiple=True,
    callback=_renames,
    metavar="OLD=NEW",
    help="Give a node another name. May repeat.",
)
@click.pass_obj
def export(session: Session, output: Path | None, calico: bool, renames: dict[str, str]) -> int:
    """
    Write what calicoctl exports, as it does.

    Everything is of one revision, also while the datastore is not locked; what is assigned
    later is not in it. What calicoctl's form does not have is counted, and only a backup holds
    it.

    \b
    Examples:
      poolctl datastore export -o calico.txt
      poolctl datastore export --calico > for-calicoctl.txt
      poolctl datastore export --rename node-a=node-a.example.org -o calico.txt
    """
    from poolctl.datastore.copying import export_to

    return export_to(session, output, calico=calico, renames=renames)


@datastore.command("import")
@click.option(
    "-f",
    "--filename",
    required=True,
    type=click.Path(path_type=Path),
    help="Of an export, calicoctl's or ours; - is standard input.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, and write nothing.")
@click.option("--force", is_flag=True, help="Import it although something is wrong with it.")
@yes_option
@click.pass_obj
def import_(session: Session, filename: Path, dry_run: bool, force: bool, yes: bool) -> int:
    """
    Write an export into an empty etcd.

    Empty = it holds no data of Calico or poolmgr. All of it is checked before the first write.
    While it is written the datastore is locked and has no pools, so that no addresses are
    assigned. When it breaks off, run it again with the same file: it goes on where it was.

    \b
    Examples:
      poolctl datastore import -f calico.txt --dry-run
      poolctl datastore import -f calico.txt --yes
    """
    from poolctl.datastore.copying import import_from

    return import_from(session, filename, dry_run=dry_run, force=force, yes=yes)


@datastore.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def backup(session: Session, file: Path) -> int:
    """
    Write all data of Calico and poolmgr to a file.

    They are copied byte for byte, as of one revision. The file is packed where its name ends in
    .gz. It appears when it is complete, readable for its owner only. The epoch is not part of
    it, nor are leases: keys that end with one come back without.

    \b
    Examples:
      poolctl datastore backup /var/backups/poolmgr.jsonl.gz
    """
    from poolctl.datastore.copying import backup_to

    return backup_to(session, file)


@datastore.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Delete what is stored and not in the file.")
@click.option(
    "--force",
    is_flag=True,
    help="Although the datastore is not locked, or values in the file cannot be understood.",
)
@yes_option
@click.pass_obj
def restore(session: Session, file: Path, replace: bool, force: bool, yes: bool) -> int:
    """
    Write a backup back.

    The whole file is checked before the first write. Then the epoch is renewed, the datastore
    locked and, with --replace, the pools are deleted, so that nobody is given an address until
    everything is there; pools come last. When it breaks off, run it again with the same file:
    it goes on where it was. Stop the pods' comings and goings meanwhile (drain, or stop the
    kubelets): an address that is released before it is back stays assigned until `poolctl node
    gc`. Addresses assigned after the backup are forgotten, though pods may still use them:
    restart these. In the end what is stored is audited; exit status 5: something is wrong with
    it, or others wrote pools or blocks before everything was there.

    \b
    Examples:
      poolctl datastore restore /var/backups/poolmgr.jsonl.gz
      poolctl datastore lock && poolctl datastore restore --replace poolmgr.jsonl.gz
    """
    from poolctl.datastore.copying import restore_from

    return restore_from(session, file, replaces=replace, force=force, yes=yes)


for _command in (lock, unlock, export, import_):
    migrate.add_command(_command)
