import ast
import importlib.util
import json
import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from poolmgr.cni.result import version_text
from poolmgr.cni.wire import (
    FRAME_LIMIT_BYTES,
    VERSION,
    Reply,
    Status,
    decode_frame,
    encode_reply,
)

SOURCE = Path(__file__).resolve().parents[2] / "cni_shim" / "poolmgr_ipam.py"
SYSTEM_PYTHON = Path("/usr/bin/python3")
PYTHON = SYSTEM_PYTHON if SYSTEM_PYTHON.exists() else Path(sys.executable).resolve()
CONF = b'{"cniVersion": "1.0.0", "name": "net1"}'
ENV = {b"CNI_COMMAND": b"ADD", b"CNI_ARGS": b"", b"PATH": b"/bin", b"ETCD_PASSWORD": b"secret"}


@pytest.fixture
def shim():
    spec = importlib.util.spec_from_file_location("poolmgr_ipam", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def conf_fd(tmp_path):
    path = tmp_path / "conf"
    path.write_bytes(CONF)
    with path.open("rb") as file:
        yield file.fileno()


@pytest.fixture
def agent(tmp_path):
    """A server that notes frames and gives the prepared answer, in one go, and closes."""
    with Agent(tmp_path / "agent.sock") as agent:
        yield agent


class Agent:
    def __init__(self, path):
        self.path, self.frames, self.answer = str(path), [], b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                frame = b""
                while part := connection.recv(65536):
                    frame += part
                self.frames.append(frame)
                connection.sendall(self.answer)


class BecameError(Exception):
    """What `execve` was asked to do, and what it would have read."""


@pytest.fixture
def execs(shim, monkeypatch):
    def execve(path, argv, env):
        raise BecameError(path, argv, env)

    monkeypatch.setattr(shim.posix, "execve", execve)


def test_it_imports_built_in_modules_only():
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 8))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }

    assert imported == {"sys", "posix", "_socket"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def test_the_interpreter_is_isolated_and_loads_nothing_more():
    assert SOURCE.read_text().splitlines()[0] == "#!/usr/bin/python3 -IS"
    bare, ours = imports("-c", "import sys, posix, _socket"), imports(str(SOURCE))

    assert ours == bare
    assert not ours & {"os", "json", "socket", "re", "site", "typing", "encodings.idna"}


def imports(*arguments):
    """Return the names of the modules that the system's interpreter imports."""
    done = subprocess.run(
        [PYTHON, "-IS", "-X", "importtime", *arguments],
        env={"CNI_COMMAND": "VERSION"},
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def test_it_agrees_with_the_library(shim):
    assert version_text() + "\n" == shim.VERSIONS
    ours = (shim.FRAME_VERSION, shim.FRAME_LIMIT, shim.NOT_MINE)

    assert ours == (VERSION, FRAME_LIMIT_BYTES, Status.NOT_MINE)


@pytest.mark.parametrize("status", [0, 1])
def test_the_agents_answer_comes_back(status, shim, agent, conf_fd):
    agent.answer = encode_reply(Reply(status=Status(status), body=b'{"code": 7}\n'))

    assert shim.serve(ENV, "/absent", agent.path, conf_fd) == (status, b'{"code": 7}\n')


def test_the_agent_gets_the_cni_variables_and_the_input(shim, agent, conf_fd):
    agent.answer = b"\0"
    shim.serve(ENV, "/absent", agent.path, conf_fd)

    (frame,) = map(decode_frame, agent.frames)
    assert (frame.env, frame.conf) == ({"CNI_COMMAND": "ADD", "CNI_ARGS": ""}, CONF)


def test_a_large_call_and_a_large_answer_pass(shim, agent, tmp_path):
    conf = b" " * FRAME_LIMIT_BYTES
    path = tmp_path / "large"
    path.write_bytes(conf)
    agent.answer = b"\0" + b"x" * 500_000
    with path.open("rb") as file:
        status, body = shim.serve({}, "/absent", agent.path, file.fileno())

    assert (status, len(body), agent.frames[0][5:] == conf) == (0, 500_000, True)


def test_without_an_agent_it_becomes_the_direct_entry(shim, execs, conf_fd, tmp_path):
    with pytest.raises(BecameError) as caught:
        shim.serve(ENV, "/x/poolmgr-ipam.direct", str(tmp_path / "absent"), conf_fd)

    assert caught.value.args == ("/x/poolmgr-ipam.direct", ["/x/poolmgr-ipam.direct"], ENV)
    assert os.read(conf_fd, 100) == CONF, "the input was not touched"


def test_a_dead_agents_socket_counts_as_none(shim, execs, conf_fd, tmp_path):
    path = str(tmp_path / "dead.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)

    with pytest.raises(BecameError):
        shim.serve(ENV, "/x", path, conf_fd)


def test_not_mine_is_served_by_the_direct_entry_with_the_same_input(
    shim, execs, agent, conf_fd
):
    agent.answer = encode_reply(Reply(status=Status.NOT_MINE))
    with pytest.raises(BecameError):
        shim.serve(ENV, "/x", agent.path, conf_fd)

    assert os.read(conf_fd, 100) == CONF


@pytest.mark.parametrize("answer", [b"", b"\x03", b"\xff{}"])
def test_a_broken_answer_is_never_a_reason_to_do_it_twice(answer, shim, execs, agent, conf_fd):
    agent.answer = answer
    with pytest.raises(
        shim.CallError, match="broke off its answer; trying again is safe"
    ) as caught:
        shim.serve(ENV, "/x", agent.path, conf_fd)

    assert caught.value.code == 11


def test_a_connection_that_breaks_is_never_a_reason_to_do_it_twice(
    shim, execs, conf_fd, tmp_path
):
    path = str(tmp_path / "agent.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def reset():
            listener.accept()[0].close()  # with the frame unread: the peer sees a reset

        thread = threading.Thread(target=reset)
        thread.start()
        with pytest.raises(shim.CallError) as caught:
            shim.serve(ENV, "/x", path, conf_fd)
        thread.join()

    assert caught.value.code == 11


def test_a_silent_agent_is_given_up(shim, execs, conf_fd, tmp_path, monkeypatch):
    monkeypatch.setattr(shim, "TURN_S", 0.01)
    path = str(tmp_path / "agent.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(shim.CallError, match="it takes too long") as caught:
            shim.serve(ENV, "/x", path, conf_fd)

    assert caught.value.code == 11


def test_an_endless_answer_is_given_up(shim, execs, agent, conf_fd):
    agent.answer = b"\0" * (FRAME_LIMIT_BYTES + 2)
    with pytest.raises(shim.CallError, match="its answer is too long"):
        shim.serve(ENV, "/x", agent.path, conf_fd)


def test_it_stops_waiting_when_its_parent_is_gone(shim):
    mine, _other = socket.socketpair()
    with mine, _other, pytest.raises(shim.OrphanedError):
        shim.ask(mine, b"x", os.getppid() + 1)


def test_input_beyond_the_limit_is_refused(shim, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b" " * (FRAME_LIMIT_BYTES + 1))
    with path.open("rb") as file, pytest.raises(shim.CallError) as caught:
        shim.read_input(file.fileno())

    assert (caught.value.code, str(caught.value)) == (6, "standard input exceeds 1048576 bytes")


def test_input_that_is_not_readable_is_refused(shim, tmp_path):
    directory = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(shim.CallError, match="standard input is not readable") as caught:
        shim.read_input(directory)
    os.close(directory)

    assert caught.value.code == 5


def test_input_that_cannot_be_passed_on_is_an_error(shim):
    with pytest.raises(shim.CallError, match="standard input cannot be passed on") as caught:
        shim.replace_input(-1, CONF)

    assert caught.value.code == 11


@pytest.fixture
def main(shim, monkeypatch, tmp_path, capfd):
    """Runs `main` with an environment; returns exit status and standard output."""
    monkeypatch.setattr(shim, "SOCKET", str(tmp_path / "absent"))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "poolmgr-ipam")])

    def main(command):
        monkeypatch.setattr(shim.posix, "environ", {b"CNI_COMMAND": command})
        return shim.main(), capfd.readouterr().out

    return main


def test_version_is_answered_here(main):
    assert main(b"VERSION") == (0, version_text() + "\n")


@pytest.mark.parametrize(("command", "code"), [(b"ADD", 11), (b"DEL", 11), (b"STATUS", 50)])
def test_nothing_to_become_is_an_error_that_says_what_to_do(command, code, main, tmp_path):
    status, text = main(command)

    error = json.loads(text)
    assert (status, error["code"]) == (1, code)
    assert error["msg"] == (
        f"nothing listens at {tmp_path}/absent, and {tmp_path}/poolmgr-ipam.direct "
        "cannot be started: No such file or directory; "
        "install the plugin again: poolctl node install --bin-dir DIRECTORY"
    )


def test_main_prints_the_answer(main, shim, monkeypatch):
    monkeypatch.setattr(shim, "serve", lambda *_: (0, b"{}\n"))

    assert main(b"ADD") == (0, "{}\n")


def test_main_says_nothing_to_nobody(main, shim, monkeypatch):
    def orphaned(*_):
        raise shim.OrphanedError

    monkeypatch.setattr(shim, "serve", orphaned)

    assert main(b"ADD") == (1, "")


def test_main_fails_when_nobody_takes_the_answer(main, shim, monkeypatch):
    def closed(fd, data):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(shim.posix, "write", closed)

    assert main(b"VERSION") == (1, "")


def test_any_text_becomes_valid_json(shim):
    text = 'a "quote", a \\, a \n, an ü and \udcff'

    assert json.loads(shim.error_json(11, text)) == {
        "cniVersion": "1.1.0",
        "code": 11,
        "msg": "a ?quote?, a ?, a ?, an ? and ?",
    }


# From here on it is a process of its own, on the system's interpreter.


@pytest.fixture
def plugin(tmp_path):
    """The shim, installed so that it looks for its agent in the test's directory."""
    path = tmp_path / "poolmgr-ipam"
    text = SOURCE.read_text().replace("/run/poolmgr/agent.sock", str(tmp_path / "agent.sock"))
    path.write_text(text.replace(str(SYSTEM_PYTHON), str(PYTHON), 1))
    path.chmod(0o755)
    return path


@pytest.fixture
def entry(plugin):
    """An agentless entry point that shows what it was given."""
    path = plugin.with_name("poolmgr-ipam.direct")
    path.write_text('#!/bin/sh\necho "direct $CNI_COMMAND $OTHER $(cat)"\n')
    path.chmod(0o755)
    return path


def execute(plugin, conf=CONF, command="ADD"):
    env = {"CNI_COMMAND": command, "OTHER": "other", "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [str(plugin)], input=conf, env=env, capture_output=True, check=False, timeout=30
    )


def test_the_process_answers_version(plugin):
    done = execute(plugin, b"", "VERSION")

    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        (version_text() + "\n").encode(),
        b"",
    )


def test_the_process_becomes_the_direct_entry(plugin, entry):
    done = execute(plugin)

    assert (done.returncode, done.stdout) == (0, b"direct ADD other " + CONF + b"\n")


def test_the_process_relays(plugin, entry, agent):
    agent.answer = b'\1{"code": 7}\n'
    done = execute(plugin)

    assert (done.returncode, done.stdout, done.stderr) == (1, b'{"code": 7}\n', b"")


def test_the_process_hands_over_what_is_not_the_agents(plugin, entry, agent):
    agent.answer = b"\2"
    large = b"x" * 300_000
    done = execute(plugin, large)

    assert (done.returncode, done.stdout) == (0, b"direct ADD other " + large + b"\n")


def test_the_process_without_an_entry_says_so(plugin):
    done = execute(plugin)

    assert (done.returncode, json.loads(done.stdout)["code"], done.stderr) == (1, 11, b"")


def test_the_process_closes_its_connection_when_its_parent_dies(plugin, tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent.sock"))
        listener.listen()
        listener.settimeout(20)
        parent = subprocess.Popen(
            ["/bin/sh", "-c", f"echo '{{}}' | {plugin}; true"],
            env={"CNI_COMMAND": "ADD"},
            stdout=subprocess.PIPE,
        )
        connection, _ = listener.accept()
        with connection, parent:
            connection.settimeout(20)
            while connection.recv(65536):
                pass
            parent.kill()
            parent.wait()
            hung_up = select.poll()
            hung_up.register(connection, 0)

            assert hung_up.poll(20_000) == [(connection.fileno(), select.POLLHUP)]
            assert parent.stdout.read() == b""
