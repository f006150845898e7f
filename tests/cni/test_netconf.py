import json

import pytest

from poolmgr.cidr import parse_address
from poolmgr.cni.args import Args
from poolmgr.cni.netconf import Command, parse
from poolmgr.cni.result import VERSIONS, CallError
from poolmgr.cni.wire import Frame
from poolmgr.core.link import LinkPolicy, MainPlugin, Route
from poolmgr.core.request import Attachment
from poolmgr.kube.annotations import Gates

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


NO_ATTACHMENT = {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""}


def test_status_is_about_no_attachment():
    call = parse(frame({"CNI_COMMAND": "STATUS", **NO_ATTACHMENT}, cniVersion="1.1.0"))

    assert (call.command, call.attachment) == (Command.STATUS, None)


def collected(**keys):
    return frame({"CNI_COMMAND": "GC", **NO_ATTACHMENT}, **{"cniVersion": "1.1.0", **keys})


VALID = "cni.dev/valid-attachments"


@pytest.mark.parametrize(
    ("listed", "valid"),
    [
        ([], frozenset()),
        (
            [
                {"containerID": "c1", "ifname": "eth0"},
                {"containerID": "c2", "ifname": "eth1", "netns": "/x"},
            ],
            {("c1", "eth0"), ("c2", "eth1")},
        ),
    ],
)
def test_gc_is_told_what_exists(listed, valid):
    call = parse(collected(**{VALID: listed}))

    assert (call.command, call.attachment, call.valid) == (Command.GC, None, valid)


@pytest.mark.parametrize(
    ("keys", "code", "why"),
    [
        ({}, 7, f"{VALID}: a required key is missing"),
        ({VALID: None}, 7, f"{VALID} = null: must be a list"),
        ({VALID: {}}, 7, f"{VALID}: must be a list"),
        ({VALID: ["c1"]}, 7, f'{VALID}[0] = "c1": must be an object'),
        ({VALID: [{"containerID": "c1"}]}, 7, f"{VALID}[0].ifname: a required key is missing"),
        ({VALID: [{"containerID": "", "ifname": "e"}]}, 7, f'{VALID}[0].containerID = "": '),
        ({VALID: [], "cniVersion": "1.0.0"}, 1, "cniVersion 1.0.0 has no GC; 1.1.0 has"),
    ],
)
def test_gc_collects_nothing_without_a_list_of_what_exists(keys, code, why):
    refused = refusal(collected(**keys))

    assert (refused[0], f"network configuration, {why}" in refused[1]) == (code, True)


FOUR, SIX = parse_address("10.0.0.5"), parse_address("fd00::5")


@pytest.mark.parametrize(
    ("keys", "args", "addresses"),
    [
        ({"runtimeConfig": {"ips": ["fd00::5/64", "10.0.0.5"]}}, "", (FOUR, SIX)),
        ({"runtimeConfig": {"ips": None}}, "IP=fd00::5", (SIX,)),
        ({"runtimeConfig": {"portMappings": []}}, "", ()),
        ({"args": {"cni": {"ips": ["10.0.0.5/24"]}}}, "", (FOUR,)),
        ({"args": {"cni": {"labels": []}, "other": 1}}, "", ()),
        (
            {"args": {"cni": {"ips": ["10.0.0.5"]}}, "runtimeConfig": {"ips": ["10.0.0.5/8"]}},
            "IP=10.0.0.5",
            (FOUR,),
        ),
    ],
)
def test_the_runtime_asks_for_addresses_in_three_ways(keys, args, addresses):
    assert parse(frame({"CNI_ARGS": args}, **keys)).addresses == addresses


@pytest.mark.parametrize(
    ("keys", "args", "why"),
    [
        (
            {"runtimeConfig": {"ips": ["10.0.0.5"]}},
            "IP=10.0.0.6",
            "runtimeConfig.ips = 10.0.0.5 and CNI_ARGS IP = 10.0.0.6",
        ),
        (
            {"runtimeConfig": {"ips": ["10.0.0.5"]}, "args": {"cni": {"ips": ["10.0.0.6"]}}},
            "",
            "runtimeConfig.ips = 10.0.0.5 and args.cni.ips = 10.0.0.6",
        ),
        (
            {"args": {"cni": {"ips": ["10.0.0.5", "fd00::5"]}}},
            "IP=10.0.0.5",
            "CNI_ARGS IP = 10.0.0.5 and args.cni.ips = 10.0.0.5, fd00::5",
        ),
    ],
)
def test_ways_that_ask_for_different_addresses_are_refused(keys, args, why):
    said = f"{why} ask for different addresses; leave one of them out"

    assert refusal(frame({"CNI_ARGS": args}, **keys)) == (7, said)


@pytest.mark.parametrize("command", ["DEL", "GC"])
def test_wrong_wishes_do_not_stop_a_delete(command):
    keys = {
        "runtimeConfig": {"ips": ["x"]},
        "args": 5,
        "policy": {"type": "k8s"},
        "cniVersion": "1.1.0",
        VALID: [],
    }
    call = parse(frame({"CNI_COMMAND": command, "CNI_ARGS": "IP=10.0.0.5"}, **keys))

    assert (call.addresses, call.kubernetes) == ((FOUR,), None)


def test_the_annotations_of_the_runtime_are_taken():
    annotations = {"a/b": "c"}
    runtime = {"io.kubernetes.cri.pod-annotations": annotations, "ips": []}

    assert parse(frame(runtimeConfig=runtime)).annotations == annotations
    assert parse(frame(runtimeConfig={})).annotations is None


def test_features_are_off_unless_they_are_allowed():
    allowed = {"ip_addrs_no_ipam": True, "floating_ips": True}

    assert parse(frame()).gates == Gates()
    assert parse(frame(feature_control=allowed)).gates == Gates(ip_addrs_no_ipam=True)


ACCESS = {
    "kubeconfig": "",
    "api_root": "",
    "token": "",
    "client_certificate": "",
    "client_key": "",
    "certificate_authority": "",
}


@pytest.mark.parametrize(
    ("keys", "access"),
    [
        ({}, None),
        ({"kubernetes": {"node_name": "n", "k8s_api_root": "https://h"}}, None),
        ({"policy": {"type": "calico", "k8s_api_root": "https://h"}}, None),
        ({"kubernetes": {"kubeconfig": "/k"}}, {**ACCESS, "kubeconfig": "/k"}),
        (
            {"policy": {"type": "k8s"}, "kubernetes": {"k8s_api_root": "https://h"}},
            {**ACCESS, "api_root": "https://h"},
        ),
        (
            {
                "policy": {
                    "type": "k8s",
                    "k8s_api_root": "https://h",
                    "k8s_auth_token": "t",
                    "k8s_client_certificate": "/c",
                    "k8s_client_key": "/k",
                    "k8s_certificate_authority": "/a",
                },
                "kubernetes": {"k8s_api_root": "https://other"},
            },
            {
                "kubeconfig": "",
                "api_root": "https://h",
                "token": "t",
                "client_certificate": "/c",
                "client_key": "/k",
                "certificate_authority": "/a",
            },
        ),
    ],
)
def test_the_kubernetes_api_is_asked_where_it_is_named(keys, access):
    call = parse(frame(**keys))

    assert call.kubernetes == access
    assert call.kubernetes_node == keys.get("kubernetes", {}).get("node_name", "")


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
            "supported are ADD, DEL, CHECK, GC, STATUS, VERSION",
        ),
        (
            {"CNI_COMMAND": "PUT"},
            "CNI_COMMAND 'PUT' is not supported; supported are ADD, DEL, CHECK, GC, STATUS, VERSION",
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
        ({"runtimeConfig": []}, "runtimeConfig: must be an object"),
        (
            {"runtimeConfig": {"ips": "10.0.0.5"}},
            'runtimeConfig.ips = "10.0.0.5": must be a list of addresses',
        ),
        ({"runtimeConfig": {"ips": [5]}}, "runtimeConfig.ips: must be a list of addresses"),
        (
            {"runtimeConfig": {"ips": ["x/24"]}},
            "runtimeConfig.ips: 'x' does not appear to be an IPv4 or IPv6 address",
        ),
        (
            {"runtimeConfig": {"ips": ["10.0.0.5/33"]}},
            "runtimeConfig.ips: '10.0.0.5/33' does not appear to be an IPv4 or IPv6 network",
        ),
        (
            {"args": {"cni": {"ips": ["10.0.0.5", "10.0.0.6/24"]}}},
            "args.cni.ips: 10.0.0.5 and 10.0.0.6 are both IPv4; "
            "an interface gets one address of a family",
        ),
        (
            {"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"a": 1}}},
            "runtimeConfig.io.kubernetes.cri.pod-annotations.a = 1: must be a string",
        ),
        (
            {"feature_control": {"ip_addrs_no_ipam": "true"}},
            'feature_control.ip_addrs_no_ipam = "true": must be true or false',
        ),
        (
            {"policy": {"type": "k8s"}},
            "policy.type = k8s: it is not said where the Kubernetes API is; "
            "write kubernetes.kubeconfig or policy.k8s_api_root",
        ),
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
