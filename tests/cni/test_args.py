import pytest

from poolmgr.cidr import parse_address
from poolmgr.cni.args import Args, parse_args
from poolmgr.cni.result import CallError

RULE = "letters, digits, _ . - only, a letter or digit first, at most 255 in all"


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
    assert parse_args(text) == args


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("IP", "'IP' is not of the form NAME=value"),
        ("IP=10.0.0.5;", "'' is not of the form NAME=value"),
        ("=x", "'=x' is not of the form NAME=value"),
        ("IP=a=b", "'IP=a=b' is not of the form NAME=value"),
        ("IP=10.0.0.5;IP=10.0.0.6", "'IP' is given twice"),
        ("FOO=bar", "'FOO' is not known; remove it or add IgnoreUnknown=1"),
        (
            "ip=10.0.0.5;IgnoreUnknown=false",
            "'ip' is not known; remove it or add IgnoreUnknown=1",
        ),
        ("IgnoreUnknown=yes", "IgnoreUnknown='yes' must be 1, true, 0 or false"),
        *[
            (
                f"IP={text}",
                f"IP={text!r} is not an address; write one, without prefix length",
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
        ("K8S_POD_NAME=a/b", f"K8S_POD_NAME='a/b' is not a name: {RULE}"),
        ("K8S_POD_NAMESPACE=..", f"K8S_POD_NAMESPACE='..' is not a name: {RULE}"),
    ],
)
def test_what_is_not_understood_has_code_4(text, why):
    with pytest.raises(CallError) as caught:
        parse_args(text)

    assert (int(caught.value.code), str(caught.value)) == (4, f"CNI_ARGS: {why}")
