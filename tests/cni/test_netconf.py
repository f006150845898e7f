import json

import pytest

from poolmgr.cidr import parse_address
from poolmgr.cni.netconf import Args, Command, parse
from poolmgr.cni.result import VERSIONS, CallError
from poolmgr.cni.wire import Frame
from poolmgr.core.link import LinkPolicy, MainPlugin, Route
from poolmgr.core.request import Attachment

ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/var/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
CONF = {
    "cniVersion": "1.0.0",
    "name": "net1",
    "type": "macvlan",
    "etcd_endpoints": "http://127.0.0.1:2379",
    "nodename": "node-a",
    "ipam": {"type": "poolmgr-ipam"},
}


def frame(env=None, /, conf=None, **keys):
    document = {**CONF, **keys} if conf is None else conf
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Frame(env={**ENV, **(env or {})}, conf=raw)


def refusal(a_frame):
    with pytest.raises(CallError) as caught:
        parse(a_frame)
    return int(caught.value.code), str(caught.value)


def test_a_plain_add_is_understood():
    call = parse(frame())

    assert (call.command, call.version, call.network) == (Command.ADD, "1.0.0", "net1")
    assert call.attachment == Attachment(network="net1", container="c1", interface="eth0")
    assert (call.families, call.pools, call.args, call.previous) == ((4,), {}, Args(), None)
    assert call.naming == {"nodename": "node-a", "nodename_file": "", "hostname": ""}
    assert call.etcd == {
        "etcd_endpoints": "http://127.0.0.1:2379",
        "etcd_key_file": "",
        "etcd_cert_file": "",
        "etcd_ca_cert_file": "",
    }


def test_families_and_pools_are_those_of_the_configuration():
    call = parse(
        frame(
            ipam={
                "assign_ipv4": "false",
                "assign_ipv6": True,
                "ipv6_pools": ["six", "fd00::/64"],
                "ipv4_pools": [],
            }
        )
    )

    assert (call.families, call.pools) == ((6,), {6: ("six", "fd00::/64")})


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_understood(version):
    assert parse(frame(cniVersion=version)).version == version


def test_a_missing_version_is_the_first():
    assert parse(frame(conf={"name": "net1"})).version == "0.1.0"


def test_a_del_needs_no_namespace():
    call = parse(frame({"CNI_COMMAND": "DEL", "CNI_NETNS": ""}))

    assert call.command is Command.DEL


def test_status_is_about_no_attachment():
    env = {"CNI_COMMAND": "STATUS", "CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""}
    call = parse(frame(env, cniVersion="1.1.0"))

    assert (call.command, call.attachment) == (Command.STATUS, None)


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("", Args()),
        ("IP=", Args()),
        ("IP=10.0.0.5", Args(address=parse_address("10.0.0.5"))),
        ("IP=fd00::5", Args(address=parse_address("fd00::5"))),
        ("K8S_POD_NAME=web-0;K8S_POD_NAMESPACE=prod", Args(pod="web-0", namespace="prod")),
        ("K8S_POD_NAME=;K8S_POD_UID=1-2-3", Args()),
        ("FOO=bar;IgnoreUnknown=1", Args()),
        ("IgnoreUnknown=True;FOO=", Args()),
        ("IgnoreUnknown=0;IP=10.0.0.5", Args(address=parse_address("10.0.0.5"))),
    ],
)
def test_cni_args_are_understood(text, args):
    assert parse(frame({"CNI_ARGS": text})).args == args


def test_a_check_knows_the_addresses_of_the_earlier_result():
    env = {"CNI_COMMAND": "CHECK"}
    ips = [{"address": "10.0.0.5/24"}, {"address": "fd00::5/64"}]

    assert parse(frame(env)).previous is None
    assert parse(frame(env, prevResult=None)).previous is None
    assert parse(frame(env, prevResult={})).previous == frozenset()
    assert parse(frame(env, prevResult={"ips": ips})).previous == {
        parse_address("10.0.0.5"),
        parse_address("fd00::5"),
    }


def test_only_a_check_reads_the_earlier_result():
    assert parse(frame(prevResult={"ips": "broken"})).previous is None


@pytest.mark.parametrize(
    ("keys", "policy"),
    [
        ({"type": "calico"}, LinkPolicy()),
        ({"type": "ptp"}, LinkPolicy(main=MainPlugin.PTP)),
        ({"type": "bridge"}, LinkPolicy(main=MainPlugin.FLAT)),
        ({"type": "bridge", "isGateway": True}, LinkPolicy(main=MainPlugin.BRIDGE_GATEWAY)),
        (
            {"type": "bridge", "isDefaultGateway": True},
            LinkPolicy(main=MainPlugin.BRIDGE_GATEWAY, adds_default_route=True),
        ),
        ({"type": "macvlan", "isGateway": "ignored"}, LinkPolicy(main=MainPlugin.FLAT)),
        *[
            ({"type": name}, LinkPolicy(main=MainPlugin.FLAT))
            for name in ("ipvlan", "sriov", "vlan", "host-device")
        ],
        (
            {
                "type": "vlan",
                "ipam": {
                    "prefixLength": 24,
                    "gateway": {"ipv4": "10.0.0.1", "ipv6": "none"},
                    "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.9"}],
                    "dns": {"nameservers": ["10.0.0.53"], "search": ["example.org"]},
                },
            },
            LinkPolicy(
                main=MainPlugin.FLAT,
                prefix_length={4: 24},
                gateway={4: "10.0.0.1", 6: "none"},
                routes=(Route(dst="0.0.0.0/0", gw="10.0.0.9"),),
                dns={"nameservers": ["10.0.0.53"], "search": ["example.org"]},
            ),
        ),
        (
            {
                "type": "bridge",
                "isDefaultGateway": True,
                "ipam": {"routes": [{"dst": "10.0.0.0/8"}]},
            },
            LinkPolicy(
                main=MainPlugin.BRIDGE_GATEWAY,
                adds_default_route=True,
                routes=(Route(dst="10.0.0.0/8"),),
            ),
        ),
        (
            {"type": "calico", "ipam": {"prefixLength": "host", "gateway": "none"}},
            LinkPolicy(prefix_length={4: "host", 6: "host"}, gateway={4: "none", 6: "none"}),
        ),
    ],
)
def test_the_main_plugin_decides_how_addresses_are_configured(keys, policy):
    assert parse(frame(**keys)).link == policy


RULE = "letters, digits, _ . - only, a letter or digit first, at most 255 in all"
RUNTIME = "the CNI runtime sets it"
NO_INTERFACE = (
    "is not an interface name: at most 15 bytes, "
    "no slash, colon, white space or control character, and not . or .."
)


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"CNI_COMMAND": ""}, f"CNI_COMMAND is not set; {RUNTIME}"),
        (
            {"CNI_COMMAND": "FROBNICATE"},
            "CNI_COMMAND 'FROBNICATE' is not supported; "
            "supported are ADD, DEL, CHECK, STATUS, VERSION",
        ),
        (
            {"CNI_COMMAND": "GC"},
            "CNI_COMMAND 'GC' is not supported; supported are ADD, DEL, CHECK, STATUS, VERSION",
        ),
        ({"CNI_CONTAINERID": ""}, f"CNI_CONTAINERID must be set for ADD; {RUNTIME}"),
        ({"CNI_NETNS": ""}, f"CNI_NETNS must be set for ADD; {RUNTIME}"),
        (
            {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "", "CNI_IFNAME": "", "CNI_PATH": ""},
            f"CNI_CONTAINERID, CNI_IFNAME, CNI_PATH must be set for DEL; {RUNTIME}",
        ),
        (
            {"CNI_COMMAND": "STATUS", "CNI_PATH": ""},
            f"CNI_PATH must be set for STATUS; {RUNTIME}",
        ),
        *[
            (
                {"CNI_CONTAINERID": name},
                f"CNI_CONTAINERID {name!r:.80} is not a container id: {RULE}",
            )
            for name in ("a/b", "c1\n", "-c", ".c", "c d", "ü", "\udcff", "c" * 256)
        ],
        *[
            ({"CNI_IFNAME": name}, f"CNI_IFNAME {name!r:.80} {NO_INTERFACE}")
            for name in (
                "a" * 16,
                "ü" * 8,
                ".",
                "..",
                "a/b",
                "a:b",
                "a b",
                "a\n",
                "a\udcff",
                "a\x85",
            )
        ],
        ({"CNI_ARGS": "IP"}, "CNI_ARGS: 'IP' is not of the form NAME=value"),
        ({"CNI_ARGS": "IP=10.0.0.5;"}, "CNI_ARGS: '' is not of the form NAME=value"),
        ({"CNI_ARGS": "=x"}, "CNI_ARGS: '=x' is not of the form NAME=value"),
        ({"CNI_ARGS": "IP=a=b"}, "CNI_ARGS: 'IP=a=b' is not of the form NAME=value"),
        ({"CNI_ARGS": "IP=10.0.0.5;IP=10.0.0.6"}, "CNI_ARGS: 'IP' is given twice"),
        (
            {"CNI_ARGS": "FOO=bar"},
            "CNI_ARGS: 'FOO' is not known; remove it or add IgnoreUnknown=1",
        ),
        (
            {"CNI_ARGS": "ip=10.0.0.5;IgnoreUnknown=false"},
            "CNI_ARGS: 'ip' is not known; remove it or add IgnoreUnknown=1",
        ),
        (
            {"CNI_ARGS": "IgnoreUnknown=yes"},
            "CNI_ARGS: IgnoreUnknown='yes' must be 1, true, 0 or false",
        ),
        *[
            (
                {"CNI_ARGS": f"IP={text}"},
                f"CNI_ARGS: IP={text!r} is not an address; write one, without prefix length",
            )
            for text in (
                "hello",
                "10.0.0.5/24",
                "010.0.0.5",
                "::ffff:10.0.0.5",
                "fe80::1%eth0",
                "5",
            )
        ],
        (
            {"CNI_ARGS": "K8S_POD_NAME=a/b"},
            f"CNI_ARGS: K8S_POD_NAME='a/b' is not a name: {RULE}",
        ),
        (
            {"CNI_ARGS": "K8S_POD_NAMESPACE=.."},
            f"CNI_ARGS: K8S_POD_NAMESPACE='..' is not a name: {RULE}",
        ),
    ],
)
def test_a_wrong_environment_has_code_4(env, why):
    assert refusal(frame(env)) == (4, why)


def test_the_environment_is_judged_before_the_configuration():
    assert refusal(frame({"CNI_IFNAME": "a/b"}, conf=b"{"))[0] == 4


@pytest.mark.parametrize("raw", [b"", b"{not json", b"[]", b'{"name":"a","name":"b"}', b"\xff"])
def test_a_configuration_that_is_no_json_object_has_code_6(raw):
    assert refusal(frame(conf=raw))[0] == 6


GATEWAY_OUTSIDE = (
    "the gateway is outside of such a prefix, and out of reach; "
    "write pool, or the length of the LAN's prefix"
)
BRIDGE = {"type": "bridge", "isGateway": True}


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"name": ""}, f"name is missing: {RULE}"),
        ({"name": "bad name"}, f"name 'bad name' is not a network name: {RULE}"),
        ({"name": "net1\n"}, f"name 'net1\\n' is not a network name: {RULE}"),
        ({"name": "a/b"}, f"name 'a/b' is not a network name: {RULE}"),
        ({"name": 5}, "name = 5: must be a string"),
        ({"nodename": 5}, "nodename = 5: must be a string"),
        (
            {"ipam": {"assign_ipv4": "maybe"}},
            'ipam.assign_ipv4 = "maybe": must be true, false, "true" or "false"',
        ),
        (
            {"datastore_type": "kubernetes"},
            "datastore_type 'kubernetes' is not supported: "
            'this plugin keeps its data in etcd; remove the key or write "etcdv3"',
        ),
        (
            {"etcd_discovery_srv": "example.org"},
            "etcd_discovery_srv is not supported; list the members in etcd_endpoints",
        ),
        ({"type": "bridge", "isGateway": 1}, "isGateway = 1: must be true or false"),
        (
            {"type": "ptp", "ipam": {"gateway": "none"}},
            'ipam.gateway = "none": ptp needs a gateway; '
            "remove the key, or write first-of-pool or an address",
        ),
        (
            {**BRIDGE, "ipam": {"gateway": {"ipv6": "none"}}},
            'ipam.gateway = "none": bridge as gateway needs a gateway; '
            "remove the key, or write first-of-pool or an address",
        ),
        *[
            (
                {**main, "ipam": {"prefixLength": length}},
                f"ipam.prefixLength = {shown}: {GATEWAY_OUTSIDE}",
            )
            for main in ({"type": "ptp"}, BRIDGE)
            for length, shown in (
                ("host", "host"),
                ("block", "block"),
                (32, 32),
                ({"ipv6": 128}, 128),
            )
        ],
        (
            {"ipam": {"prefixLength": "host", "gateway": "10.0.0.1"}},
            f"ipam.prefixLength = host: {GATEWAY_OUTSIDE}",
        ),
        (
            {**BRIDGE, "isDefaultGateway": True, "ipam": {"routes": [{"dst": "::/0"}]}},
            "ipam.routes: with isDefaultGateway the bridge plugin adds the default route "
            "and fails on a second one; remove it from ipam.routes",
        ),
    ],
)
def test_a_wrong_configuration_has_code_7(keys, why):
    assert refusal(frame(**keys)) == (7, f"network configuration, {why}")


def test_a_wrong_earlier_result_has_code_7():
    code, message = refusal(
        frame({"CNI_COMMAND": "CHECK"}, prevResult={"ips": [{"address": 1}]})
    )

    assert (code, message.partition(" = ")[0]) == (
        7,
        "network configuration, prevResult.ips[0].address",
    )


@pytest.mark.parametrize(
    ("command", "version", "why"),
    [
        ("ADD", "9.9.9", "cniVersion '9.9.9' is not supported"),
        ("ADD", "1.0", "cniVersion '1.0' is not supported"),
        ("ADD", 1, "cniVersion 1 is not supported"),
        ("CHECK", "0.3.1", "cniVersion 0.3.1 has no CHECK; 0.4.0 has"),
        ("CHECK", "", "cniVersion 0.1.0 has no CHECK; 0.4.0 has"),
        ("STATUS", "1.0.0", "cniVersion 1.0.0 has no STATUS; 1.1.0 has"),
    ],
)
def test_a_version_that_does_not_fit_has_code_1(command, version, why):
    a_frame = frame({"CNI_COMMAND": command}, cniVersion=version)

    assert refusal(a_frame) == (1, f"network configuration, {why}")


def test_an_unknown_version_is_answered_with_the_known_ones():
    with pytest.raises(CallError) as caught:
        parse(frame(cniVersion="9.9.9"))

    assert caught.value.details == (
        "supported are 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"
    )
