"""Which values are secrets, and where they are found."""

import base64
import json

import pytest

from poolctl.node.masking import MASK, Masker

PEM = "-----BEGIN EC PRIVATE KEY-----\nMHhunter2\n-----END EC PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2_hunter2-"


@pytest.mark.parametrize(
    "key",
    [
        *("password", "passwd", "passphrase", "pass", "DB_PASS", "etcdPassword", "pwd", "pw"),
        *("psk", "wpa_psk", "jwt", "bearer", "token", "k8s_auth_token", "authToken", "tokens"),
        *("secret", "client-secret", "secretRef", "imagePullSecrets", "credentials", "auth"),
        *("basicAuth", "oauth", "Authorization", "cookie", "api_key", "apikey", "accessKeyId"),
        *("privateKey", "private-key", "k8s_client_key", "client-key-data", "key", "keys"),
        *("example.com/db-password", "PASSWORD", "X-Auth-Token"),
    ],
)
@pytest.mark.parametrize(
    "value", ["hunter2", 4242, ["hunter2"], {"value": {"deep": ["hunter2"]}}, "/hun/ter2"]
)
def test_everything_beneath_the_key_of_a_secret_is_masked(key, value):
    assert {"a": [{key: MASK}]} == Masker().value({"a": [{key: value}]})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("password", ""), ("token", None), ("key", True), ("secret", []), ("psk", {})),
        *(("k8s_client_key", "/etc/kubernetes/admin.key"), ("tokenFile", "/run/a-b/token.txt")),
        *(("etcd_key_file", "/etc/key.pem"), ("wireguardPublicKey", "AAAA"), ("bypass", "no")),
        *(("authentication", "basic"), ("authType", "basic"), ("bridge", "cni0")),
        *(("etcd_endpoints", "https://etcd-1:2379"), ("selector", "has(key)"), ("mtu", 1500)),
        *(("note", "etcdctl get KEY: see there"), ("note", "no key: it is none")),
        ("note", "etcdserver: invalid auth token (UNAUTHENTICATED)"),
        ("note", "set ETCD_USERNAME and ETCD_PASSWORD"),
        ("args", ["--verbose", "net-a", "--mtu=1500"]),
        ("args", ["--token-file=/etc/token.txt"]),
    ],
)
def test_what_is_no_secret_stays(key, value):
    assert {key: value} == Masker().value({key: value})


@pytest.mark.parametrize(
    "text",
    [
        *(
            "--token=hunter2",
            "run --password hunter2 now",
            "-token hunter2",
            "password=hunter2",
        ),
        *("a=1 PASSWORD=hunter2 b=2", "error: password=hunter2", "password='hunter2 hunter2'"),
        *("password: hunter2", "password: correct hunter2", "the pass: hunter2\nthe rest"),
        *(
            "Authorization: Bearer hunter2",
            "Authorization: Basic hunter2",
            "sent Bearer hunter2",
        ),
        *("bearer hunter2", "with Basic hunter2hunter2==", "https://user:hunter2@etcd-1:2379"),
        *("https://hunter2@host/", "https://user:p@hunter2/hunter2@host", JWT, f"is {JWT}"),
        *(PEM, f"inline {PEM} here", "x -----BEGIN RSA KEY-----\nhunter2"),
        base64.b64encode(PEM.encode()).decode(),
        *('{"password": "hunter2"', '{\\"password\\": \\"hunter2\\"', "password:\n  hunter2"),
        json.dumps({"spec": {"auth": {"value": "hunter2"}}}),
        json.dumps([json.dumps({"token": "hunter2"})]),
        '{"password": "hunter2", "password": null}',
        "https://host/?a=1&token=hunter2&b=2",
        f"password: hunter2 or {JWT}",
        *(
            "---password=hunter2",
            "1password=hunter2",
            "{password=hunter2",
            "x.password=hunter2",
        ),
    ],
)
def test_secrets_in_texts_are_masked(text):
    found = Masker().value({"note": text})["note"]

    assert "hunter2" not in found
    assert base64.b64encode(b"MHhunter2").decode()[:8] not in found
    assert MASK in found or "null" in found


@pytest.mark.parametrize(
    "text", ["the --mtu 1500", "a: b\nc: d", "https://host:1/a", "[a]", ""]
)
def test_texts_without_secrets_stay(text):
    assert text == Masker().text(text)


def test_the_rest_of_a_text_stays():
    found = Masker().text("a=1 password=hunter2 b=2\nthe pass: of hunter2\nnext: line")

    assert f"a=1 password={MASK} b=2\nthe pass: {MASK}\nnext: line" == found


def test_the_argument_after_an_option_is_masked():
    found = Masker().value(["--password", "hunter2", "--mtu", "1500", "-token", "hunter2", "x"])

    assert ["--password", MASK, "--mtu", "1500", "-token", MASK, "x"] == found


@pytest.mark.parametrize("name", ["name", "key"])
def test_a_variable_is_judged_by_its_name(name):
    found = Masker().value(
        [{name: "DB_PASSWORD", "value": "hunter2"}, {name: "A", "value": "b"}]
    )

    assert [{name: "DB_PASSWORD", "value": MASK}, {name: "A", "value": "b"}] == found


def test_an_endpoint_with_a_user_is_masked_whole():
    assert {"etcd_endpoints": MASK} == Masker().value({"etcd_endpoints": "user:p/w@etcd-1:1"})


def test_json_in_a_text_is_masked_and_stays_json():
    text = json.dumps({"spec": {"password": "hunter2", "bgp": 1}})

    found = Masker().value({"last-applied-configuration": text})

    assert {"spec": {"password": MASK, "bgp": 1}} == json.loads(
        found["last-applied-configuration"]
    )


def test_what_was_masked_once_is_masked_wherever_it_stands():
    masker = Masker()
    masker.value(
        {"password": "hunter2", "credentials": {"name": "net-a", "value": "swordfish"}}
    )

    assert f"net-a: {MASK} and {MASK}" == masker.text("net-a: hunter2 and swordfish")


def test_a_short_secret_is_not_looked_for_elsewhere():
    masker = Masker()
    masker.value({"password": "a"})

    assert "a day" == masker.text("a day")


@pytest.mark.parametrize("text", ["a" * 1_000_000, "a-" * 500_000, "://" * 300_000])
def test_long_words_take_no_time(text):
    assert text == Masker().text(text)


def test_masking_again_changes_nothing():
    masker = Masker()
    once = masker.value({"password": "hunter2", "note": "password=hunter2 token: x", "a": JWT})

    assert once == masker.value(once)
