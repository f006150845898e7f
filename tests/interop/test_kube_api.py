"""The stand-in for a Kubernetes API server answers as the real one did."""

import json
import ssl
import urllib.error
import urllib.request

import pytest

from tests.interop import extract_kube
from tests.interop.recording import DATA, RECORDINGS
from tests.support.kube_api import ADMIN, PKI, KubeApi
from tests.support.kube_state import recorded

ANSWERS = {each["name"]: each for each in recorded()}


@pytest.fixture
def api():
    with KubeApi() as server:
        yield server


def ask(api, request, timeout_s=None):
    """Send a recorded request; return status, type and text."""
    path = request["path"]
    if timeout_s is not None:
        path = path[: path.rindex("=") + 1] + str(timeout_s)
    token = request.get("token", ADMIN)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    asked = urllib.request.Request(api.url + path, headers=headers)
    context = ssl.create_default_context(cafile=str(PKI / "ca.pem"))
    try:
        with urllib.request.urlopen(asked, context=context, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def facts(text):
    try:
        body = json.loads(text)
    except ValueError:
        return text
    if body.get("kind") == "Status":
        del body["message"]
    return body


@pytest.mark.parametrize(
    "name", [name for name, each in ANSWERS.items() if "stream" not in each]
)
def test_a_request_gets_the_recorded_answer(api, name):
    recording = ANSWERS[name]

    status, text = ask(api, recording["request"])

    body = recording["body"]
    wanted = {**body, "items": recording["items"]} if "items" in recording else body
    assert (recording["status"], wanted) == (status, facts(text))


@pytest.mark.parametrize("name", [name for name, each in ANSWERS.items() if "stream" in each])
def test_a_watch_gets_the_recorded_events(api, name):
    recording = ANSWERS[name]
    api.replay(ANSWERS["watch-pods-of-node"]["stream"])

    status, text = ask(api, recording["request"], timeout_s=0.2)

    events = [json.loads(line) for line in text.splitlines()]
    marks = [event for event in recording["stream"] if event["type"] == "BOOKMARK"]
    changes = [event for event in recording["stream"] if event["type"] != "BOOKMARK"]
    # The real server sends a bookmark when it likes, and one at the end.
    assert (200, changes + marks[:1]) == (status, events)


def test_what_was_compacted_is_gone(api):
    api.oldest = 232
    old_list = "/api/v1/pods?resourceVersion=1&resourceVersionMatch=Exact"

    listed, _ = ask(api, {"path": old_list})
    watched, text = ask(
        api, {"path": "/api/v1/pods?watch=1&resourceVersion=1&timeoutSeconds=1"}
    )

    event = json.loads(text)
    assert (410, 200, "ERROR", 410) == (listed, watched, event["type"], event["object"]["code"])


@pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason=f"no recordings in {RECORDINGS} (POOLMGR_INTEROP)"
)
def test_the_data_file_is_what_extract_kube_makes_of_the_recordings():
    paths = sorted((RECORDINGS / "kube").glob("*.json"))
    recordings = [json.loads(path.read_text()) for path in paths]

    assert (DATA / "kube.json").read_text() == extract_kube.extracted(recordings)
