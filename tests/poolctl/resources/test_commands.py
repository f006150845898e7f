"""create, apply, replace, delete and get as a user meets them."""

import json
import os

import pytest
import yaml

from poolctl.report import REFUSED, USAGE
from poolmgr.api import KINDS
from poolmgr.core.records import resource_key
from poolmgr.core.txn import EPOCH_KEY, Txn
from poolmgr.store.memory import Faults, MemoryStore
from tests.support.poolctl import CLUSTER, POOL_A, manifest, on, pool, put, stored

TWO = pool("m1", "10.201.0.0/16") + "\n---\n" + pool("m2", "10.202.0.0/16")


def test_several_documents_are_reported_one_by_one(at_memory):
    applied = at_memory("apply", "-f", "-", stdin=TWO)
    deleted = at_memory("delete", "-f", "-", stdin=TWO)

    assert applied.stdout == "ippool/m1 created\nippool/m2 created\n"
    assert deleted.stdout == "ippool/m1 deleted\nippool/m2 deleted\n"


def test_a_list_is_its_items(at_memory):
    items = {
        "kind": "IPPoolList",
        "apiVersion": "projectcalico.org/v3",
        "items": [json.loads(pool("l1"))],
    }

    assert (
        at_memory("apply", "-f", "-", stdin=yaml.safe_dump(items)).stdout
        == "ippool/l1 created\n"
    )


def test_every_document_is_checked_before_the_first_write(at_memory, memory):
    bad = [pool("b1", "10.0.0.5/24"), manifest("Unknown", "b2"), pool("b3", blockSize=19)]

    result = at_memory("apply", "-f", "-", stdin="\n---\n".join([pool(), *bad]))

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert [
        'poolctl: error: standard input: IPPool b1: spec.cidr: "10.0.0.5/24" has host bits set; '
        "the network is 10.0.0.0/24",
        f'poolctl: error: standard input: kind: "Unknown" is not known: {", ".join(KINDS)}',
        "poolctl: error: standard input: IPPool b3: spec.blockSize: 19 is not allowed: "
        "20 to 32 for IPv4 pools",
    ] == result.stderr.splitlines()
    assert {} == stored(memory)


@pytest.mark.parametrize("command", ["create", "apply", "replace", "delete"])
def test_one_that_the_present_state_refuses_stops_all(at_memory, memory, command):
    at_memory("create", "-f", "-", stdin=f"[{pool('here')}, {pool('gone', '10.9.0.0/16')}]")
    at_memory("delete", "ippool", "gone")
    before = stored(memory)
    stale = manifest("IPPool", "here", {"cidr": "10.10.0.0/16"}, resourceVersion="1")
    both = f"[{pool('fresh', '10.11.0.0/16')}, {stale}]"

    result = at_memory(command, "-f", "-", stdin=both)

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert "ippool/here: " in result.stderr or "ippool/fresh: does not exist" in result.stderr
    assert before == stored(memory)


def test_what_would_have_been_fine_is_counted(at_memory):
    at_memory("create", "-f", "-", stdin=pool())

    result = at_memory("create", "-f", "-", stdin=f"[{pool()}, {manifest('Node', 'n')}]")

    assert [
        "poolctl: error: ippool/pool-a: already exists",
        "nothing was written, though 1 other resource would be fine",
    ] == result.stderr.splitlines()


@pytest.mark.parametrize(
    ("faults", "status", "told", "written", "remark"),
    [
        (Faults(conflict={1, 2, 3, 4, 5}), 1, 0, 0, "20 resources after were not tried"),
        (Faults(lost_ack={1}), 4, 0, 100, "20 resources after were not tried"),
        (Faults(conflict={2}), 1, 100, 100, "100 resources before were written"),
        (Faults(lost_ack={2}), 4, 100, 120, "100 resources before were written"),
    ],
)
def test_a_failed_transaction_ends_the_command_and_tells_how_far_it_came(
    faults, status, told, written, remark
):
    store = MemoryStore(faults)
    nodes = ",".join(manifest("Node", f"n{number:03}") for number in range(120))

    result = on(store)("apply", "-f", "-", stdin=f"[{nodes}]")

    error, last = result.stderr.splitlines()
    assert (status, told) == (result.exit_code, result.stdout.count(" created\n"))
    assert error.startswith(f"poolctl: error: node/n{told:03}, node/n{told + 1:03}, ")
    assert remark == last
    assert written == sum("/nodes/" in key for key in stored(store))


def test_a_creation_that_was_cut_off_goes_on_as_it_says():
    store = MemoryStore(Faults(conflict={2}))
    nodes = ",".join(manifest("Node", f"n{number:03}") for number in range(120))

    first = on(store)("create", "-f", "-", stdin=f"[{nodes}]")
    second = on(store)("create", "-f", "-", "--skip-exists", stdin=f"[{nodes}]")

    assert "100 resources before were written; go on with --skip-exists" in first.stderr
    assert "nothing more was written" in first.stderr
    assert 0 == second.exit_code
    assert 120 == sum("/nodes/" in key for key in stored(store))


@pytest.mark.parametrize("command", ["create", "apply", "replace", "delete"])
def test_a_dry_run_tells_what_would_happen(at_memory, memory, command):
    at_memory("create", "-f", "-", stdin=pool())
    before = stored(memory)
    wanted = pool("new", "10.11.0.0/16") if command == "create" else pool(disabled=True)
    verb = {"create": "created", "delete": "deleted"}.get(command, "configured")

    result = at_memory(command, "--dry-run", "-f", "-", stdin=wanted)

    name = "new" if command == "create" else "pool-a"
    assert f"ippool/{name} {verb} (dry run)\n" == result.stdout
    assert before == stored(memory)


def test_patch_and_label_have_a_dry_run_too(at_memory, memory):
    at_memory("create", "-f", "-", stdin=pool())
    before = stored(memory)

    patched = at_memory("patch", "ipp", "pool-a", "--dry-run", "-p", "spec: {disabled: true}")
    labelled = at_memory("label", "ipp", "pool-a", "--dry-run", "a=b")

    assert "ippool/pool-a patched (dry run)\n" == patched.stdout
    assert "ippool/pool-a labeled (dry run)\n" == labelled.stdout
    assert before == stored(memory)


def test_two_manifests_of_one_resource_must_agree(at_memory, memory):
    same = at_memory("apply", "-f", "-", stdin=f"[{pool()}, {pool()}]")
    other = at_memory("apply", "-f", "-", stdin=f"[{pool()}, {pool(disabled=True)}]")

    assert "ippool/pool-a created\n" == same.stdout
    assert (REFUSED, "") == (other.exit_code, other.stdout)
    assert "ippool/pool-a: there are two manifests, and they differ" in other.stderr


def test_what_exists_is_skipped_where_asked(at_memory):
    at_memory("create", "-f", "-", stdin=pool("m1", "10.201.0.0/16"))

    created = at_memory("create", "-f", "-", "--skip-exists", stdin=TWO)

    assert "ippool/m1 already exists\nippool/m2 created\n" == created.stdout


@pytest.mark.parametrize("command", ["create", "apply", "replace", "delete", "validate"])
def test_nothing_to_do_may_be_fine_and_needs_no_etcd(program, command):
    result = program(command, "-f", "-", "--skip-empty", stdin="---\n")

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)


def test_manifests_are_validated_without_any_etcd(program):
    fine = program("validate", "-f", "-", stdin=TWO)
    wrong = program("validate", "-f", "-", stdin=f"[{pool()}, {pool('b', '10.10.0.0/24')}]")

    assert (0, "ippool/m1 valid\nippool/m2 valid\n") == (fine.returncode, fine.stdout)
    assert (REFUSED, "") == (wrong.returncode, wrong.stdout)
    assert "ippool/b: spec.cidr: 10.10.0.0/24 overlaps with pool pool-a" in wrong.stderr


def test_labels_are_set_and_removed(at_memory, memory):
    at_memory("create", "-f", "-", stdin=manifest("Node", "n", labels={"rack": "r1"}))

    results = [
        at_memory("label", "node", "n", *words)
        for words in (
            ["zone=a"],
            ["zone=a"],
            ["rack=r2"],
            ["rack=r2", "--overwrite"],
            ["zone-"],
            ["zone", "--remove"],
        )
    ]

    assert [0, 0, 1, 0, 0, 1] == [result.exit_code for result in results]
    done = [result.stdout.partition(" ")[2] for result in results if not result.exit_code]
    assert ["labeled\n", "not labeled\n", "labeled\n", "unlabeled\n"] == done
    (node,) = [json.loads(raw) for key, raw in stored(memory).items() if "/nodes/" in key]
    assert {"rack": "r2"} == node["metadata"]["labels"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["label", "node", "n", "a=b", "--overwrite", "--remove"], "either --overwrite or"),
        (["label", "node", "n", "a"], "'a' is not KEY=VALUE or KEY-"),
        (["label", "node", "n"], "Missing argument"),
        (["patch", "node", "n"], "Missing option '-p'"),
        (["patch", "node", "n", "-p", "{}", "-t", "x"], "'x' is not one of"),
        (["get", "node", "--export"], "--export needs the names of resources"),
        (["get", "node", "-w", "-o", "jsonpath={}"], "--watch cannot fill in a template"),
        (["get", "node", "-o", "go-template={{.}}"], "jsonpath=TEMPLATE can say the same"),
    ],
)
def test_a_call_that_contradicts_itself_is_exit_2(at_memory, args, message):
    result = at_memory(*args)

    assert (USAGE, "") == (result.exit_code, result.stdout)
    assert message in result.stderr


def test_a_template_ends_as_it_says(at_memory):
    at_memory("create", "-f", "-", stdin=TWO)

    names = at_memory("get", "ipp", "-o", "jsonpath={.items[*].metadata.name}")

    assert "m1 m2" == names.stdout


@pytest.mark.parametrize(
    ("args", "stdin", "message"),
    [
        (["apply"], "", "Missing option '-f' / '--filename'; see 'poolctl apply --help'"),
        (["delete"], "", "give either a kind and names, or -f; see 'poolctl delete --help'"),
        (["delete", "ippool"], "", "give either a kind and names, or -f"),
        (["delete", "ippool", "a", "-f", "-"], "", "give either a kind and names, or -f"),
        (["delete", "block", "a"], "", "'block' is not a kind of resource"),
        (["get"], "", "Missing argument 'KIND'"),
        (["get", "nosuchkind"], "", "'nosuchkind' is not a kind of resource"),
        (["get", "ippool", "-o", "xml"], "", "'xml' is not one of"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(at_memory, args, stdin, message):
    result = at_memory(*args, stdin=stdin)

    assert (USAGE, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith("poolctl: error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "stdin", "message"),
    [
        (["apply", "-f", "missing.yaml"], "", "cannot read missing.yaml: No such file"),
        (["apply", "-f", "-"], "", "there is no resource in standard input"),
        (["apply", "-f", "-"], "a: [", "standard input, line 1: not YAML: "),
        (["apply", "-f", "-"], pool(blockSize=19), "spec.blockSize: 19 is not allowed"),
        (["apply", "-f", "-"], pool("A B"), 'metadata.name: "A B" is not allowed'),
        (["node", "register", "A B"], "", 'metadata.name: "A B" is not allowed'),
        (["get", "ippool", "a/b"], "", "'a/b' must not be empty, nor contain '/'"),
        (["delete", "ippool", "a/b"], "", "'a/b' must not be empty, nor contain '/'"),
        (["apply", "-f", "-"], "&a [*a]", "line 1: not YAML: found unconstructable recursive"),
        (["apply", "-f", "-"], "&a {kind: IPPool, metadata: *a}", "recursive"),
        (["apply", "-f", "-"], "a: " + "[" * 2000, "standard input: nested too deeply"),
        (
            ["apply", "-f", "-"],
            pool().replace('"10.10.0.0/16"', "[" * 300 + "]" * 300),
            "[[...",
        ),
        (["apply", "-f", "-"], manifest("Node", "n", resourceVersion="9" * 5000), "9..."),
        (["apply", "-f", "-"], "x" * (32 * 1024**2 + 1), "input: it is larger than 32 MiB"),
        (["apply", "-f", "/dev/zero"], "", "read /dev/zero: it is not a regular file"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_input_is_one_line_and_exit_1(program, args, stdin, message):
    result = program(*args, stdin=stdin, ETCD_ENDPOINTS="127.0.0.1:1")

    assert (REFUSED, "") == (result.returncode, result.stdout)
    assert result.stderr.startswith("poolctl: error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("poolctl apply -f - <&-", "cannot read standard input: it is closed"),
        ("poolctl apply -f - <>/dev/full >&0", "cannot read standard input: it is larger"),
        ("poolctl apply -f /dev/fd/3 3</dev/zero", "read /dev/fd/3: it is larger than 32 MiB"),
        ("mkfifo $DIR/fifo; poolctl apply -f $DIR/fifo", "fifo: it is not a regular file"),
        (
            "mkfifo $DIR/a.yaml; poolctl apply -f $DIR",
            "a.yaml: it is not a regular file",
        ),
    ],
)
def test_input_that_never_ends_or_never_begins_is_refused(shell, tmp_path, script, message):
    result = shell(script, DIR=str(tmp_path), ETCD_ENDPOINTS="127.0.0.1:1")

    assert result.returncode == REFUSED
    assert message in result.stderr


def test_what_a_shell_pipes_is_read(shell, raw, etcd_endpoint):
    result = shell(
        'poolctl apply -f <(echo "$POOL"); poolctl apply -f /dev/stdin <<< "$POOL"',
        POOL=pool(),
        ETCD_ENDPOINTS=etcd_endpoint,
    )

    assert result.stdout == "ippool/pool-a created\nippool/pool-a unchanged\n"


def test_nothing_is_written_when_a_link_leads_nowhere(program, raw, etcd_endpoint, tmp_path):
    (tmp_path / "1.yaml").write_text(pool())
    (tmp_path / "2.yaml").symlink_to(tmp_path / "missing")

    result = program("apply", "-f", str(tmp_path), ETCD_ENDPOINTS=etcd_endpoint)

    assert (REFUSED, "") == (result.returncode, result.stdout)
    assert f"cannot read {tmp_path}/2.yaml: No such file or directory" in result.stderr
    assert {} == raw.dump()


def test_nothing_is_written_when_a_subdirectory_is_unreadable(
    shell, raw, etcd_endpoint, tmp_path
):
    (tmp_path / "1.yaml").write_text(pool())
    (tmp_path / "sub").mkdir(mode=0o000)
    # Root reads everything, unless it gives up the right to.
    without = "setpriv --bounding-set=-all --inh-caps=-all" if os.geteuid() == 0 else ""

    result = shell(
        f"export -f poolctl; {without} bash -c 'poolctl apply -R -f $DIR'",
        DIR=str(tmp_path),
        ETCD_ENDPOINTS=etcd_endpoint,
    )

    assert (REFUSED, "") == (result.returncode, result.stdout)
    assert f"cannot read {tmp_path}/sub: Permission denied" in result.stderr
    assert {} == raw.dump()


def test_input_that_is_not_text_is_refused(at_memory, tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe")

    result = at_memory("apply", "-f", str(tmp_path))

    assert result.exit_code == REFUSED
    assert f"cannot read {tmp_path}/a.yaml: it is not UTF-8 text" in result.stderr


def test_a_directory_is_applied_file_by_file(at_memory, tmp_path):
    (tmp_path / "1.yaml").write_text(TWO)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "2.json").write_text(manifest("Node", "node-a"))

    flat = at_memory("apply", "-f", str(tmp_path))
    deep = at_memory("apply", "-R", "-f", str(tmp_path))

    assert flat.stdout == "ippool/m1 created\nippool/m2 created\n"
    assert deep.stdout == "ippool/m1 unchanged\nippool/m2 unchanged\nnode/node-a created\n"


def test_get_lists_by_name_or_shows_one(at_memory):
    at_memory("apply", "-f", "-", stdin=TWO)

    listed = json.loads(at_memory("get", "ipp", "-o", "json").stdout)
    single = yaml.safe_load(at_memory("get", "POOLS", "m2", "-o", "yaml").stdout)

    assert ("IPPoolList", ["m1", "m2"]) == (
        listed["kind"],
        [item["metadata"]["name"] for item in listed["items"]],
    )
    assert ("IPPool", "m2") == (single["kind"], single["metadata"]["name"])
    assert (
        at_memory("get", "ippools", "m2", "m1", "-o", "name").stdout == "ippool/m2\nippool/m1\n"
    )


def test_what_get_shows_can_be_applied_again(at_memory):
    at_memory("apply", "-f", "-", stdin=TWO)

    for output in ("yaml", "json"):
        shown = at_memory("get", "ippools", "-o", output).stdout
        again = at_memory("apply", "-f", "-", stdin=shown)

        assert again.stdout == "ippool/m1 unchanged\nippool/m2 unchanged\n"


def test_a_missing_name_is_an_error_and_the_others_are_shown(at_memory):
    at_memory("apply", "-f", "-", stdin=TWO)

    result = at_memory("get", "ippool", "m1", "nope", "m2", "-o", "name")

    assert (REFUSED, "ippool/m1\nippool/m2\n") == (result.exit_code, result.stdout)
    assert result.stderr == "poolctl: error: ippool/nope does not exist\n"


def test_a_stored_value_that_cannot_be_understood_hides_no_other(at_memory, memory):
    at_memory("apply", "-f", "-", stdin=TWO)
    epoch = stored(memory)[EPOCH_KEY]
    memory.commit(Txn(expect={}, epoch=epoch, puts={POOL_A: b"junk"}))

    result = at_memory("get", "ippools", "-o", "name")

    assert (REFUSED, "ippool/m1\nippool/m2\n") == (result.exit_code, result.stdout)
    assert f"stored value of {POOL_A} is not usable: " in result.stderr
    assert f"look at it: etcdctl get {POOL_A}; mend it: etcdctl put {POOL_A}" in result.stderr


def test_control_characters_in_what_is_stored_are_escaped(poolctl, raw):
    text = "a\x1b[2J\x9b"
    value = {"metadata": {"name": "a"}, "spec": {"cidr": "10.0.0.0/8", "nodeSelector": text}}
    raw.put(resource_key("ippools", "a"), json.dumps(value).encode())

    for output in ("table", "wide", "yaml", "json"):
        shown = poolctl("get", "ippools", "-o", output).stdout

        assert not {"\x1b", "\x9b"} & {*shown}
        assert "[2J" in shown
    listed = json.loads(poolctl("get", "ippools", "-o", "json").stdout)
    assert text == listed["items"][0]["spec"]["nodeSelector"]


def test_ps_is_another_word_for_the_table(at_memory):
    at_memory("apply", "-f", "-", stdin=TWO)

    table, ps = (at_memory("get", "ippools", "-o", output).stdout for output in ("table", "ps"))

    assert table.startswith("NAME ")
    assert table == ps


def test_cluster_information_is_shown(at_memory, memory):
    put(
        memory,
        {
            CLUSTER: b'{"metadata":{"name":"default"},"spec":{"clusterGUID":"abc","datastoreReady":false}}'
        },
    )

    result = at_memory("get", "clusterinformation")

    assert ["default", "abc", "false"] == result.stdout.splitlines()[1].split()


@pytest.mark.parametrize("kind", ["ippools", "nodes", "ipreservations", "clusterinformations"])
def test_an_empty_list_is_its_header(at_memory, kind):
    result = at_memory("get", kind)

    assert (0, 1) == (result.exit_code, result.stdout.count("\n"))
    assert result.stdout.startswith("NAME")
