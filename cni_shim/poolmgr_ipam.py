#!/usr/bin/python3 -IS
"""
The CNI executable. It understands nothing: it relays bytes and execs.

1. VERSION: answered here.
2. A server listens on SOCKET: environment and standard input go there, its answer comes back.
3. Otherwise, or when the server says "not mine": this process becomes `<own path>.direct`,
   which does the work itself.

Once a byte was sent to the server the call may be under way there, so from then on a failure
is "try again later", never a second way of doing it. Only built-in modules are imported and
nothing is parsed: a runtime starts this for every pod. Runs on Python 3.8 and later.
"""

import _socket
import posix
import sys

SOCKET = "/run/poolmgr/agent.sock"
VERSIONS = (
    '{"cniVersion":"1.1.0","supportedVersions":'
    '["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}\n'
)

FRAME_VERSION = 1
FRAME_LIMIT = 1 << 20  # bytes, of a frame and of a reply
NOT_MINE = 2  # status byte of a reply; 0 and 1 are exit statuses

TURN_S = 0.5  # how often we look whether our caller lives
TURNS = 24  # 12 s in all, longer than a server lets a call wait

IO_FAILURE = 5
NOT_DECODABLE = 6
TRY_AGAIN = 11
UNAVAILABLE = 50  # the same, for STATUS


class CallError(Exception):
    """The call ends with a CNI error: `code`, `text`."""

    def __init__(self, code: int, text: str) -> None:
        Exception.__init__(self, text)
        self.code = code
        self.text = text


class OrphanedError(Exception):
    """Nobody waits for the answer any more."""


def main() -> int:
    """Serve the call this process was started for; return the exit status."""
    env = posix.environ
    command = env.get(b"CNI_COMMAND")
    try:
        if command == b"VERSION":
            status, body = 0, VERSIONS.encode()
        else:
            status, body = serve(env, sys.argv[0] + ".direct", SOCKET, 0)
    except OrphanedError:
        return 1
    except CallError as error:
        is_status = command == b"STATUS" and error.code == TRY_AGAIN
        status, body = 1, error_json(UNAVAILABLE if is_status else error.code, error.text)
    try:
        write_all(1, body)
    except OSError:
        return 1
    return status


def serve(env: "dict[bytes, bytes]", direct: str, path: str, stdin: int) -> "tuple[int, bytes]":
    """Ask the server at `path`, or become `direct`; return exit status and standard output."""
    parent = posix.getppid()
    connection = connect(path)
    if connection is None:
        raise become(direct, env)
    try:
        conf = read_input(stdin)
        reply = ask(connection, frame(env, conf), parent)
    except OSError as error:
        text = "the server at %s did not answer: %s; trying again is safe"
        raise CallError(TRY_AGAIN, text % (path, error)) from error
    finally:
        connection.close()
    status = reply[0] if reply else -1
    if status == NOT_MINE:
        replace_input(stdin, conf)
        raise become(direct, env)
    if status not in (0, 1):
        text = "the server at %s broke off its answer; trying again is safe"
        raise CallError(TRY_AGAIN, text % path)
    return status, reply[1:]


def connect(path: str) -> "_socket.socket | None":
    """Connect to the server; None = nobody listens there."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.settimeout(TURN_S)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection


def frame(env: "dict[bytes, bytes]", conf: bytes) -> bytes:
    """Pack the CNI variables and the network configuration (poolmgr/cni/wire.py)."""
    pairs = [name + b"=" + env[name] + b"\0" for name in env if name.startswith(b"CNI_")]
    block = b"".join(pairs)
    return bytes([FRAME_VERSION]) + len(block).to_bytes(4, "big") + block + conf


def ask(connection: _socket.socket, data: bytes, parent: int) -> bytes:
    """
    Send `data`, return the reply.

    Raises OSError when that fails or takes too long, OrphanedError when `parent` is gone.
    """
    turns = TURNS
    view, reply = memoryview(data), b""
    while True:
        if posix.getppid() != parent:
            raise OrphanedError
        if not turns or len(reply) > FRAME_LIMIT:
            raise OSError("it takes too long" if not turns else "its answer is too long")
        try:
            if view:
                view = view[connection.send(view) :]
                if not view:
                    connection.shutdown(_socket.SHUT_WR)
                continue
            part = connection.recv(65536)
        except _socket.timeout:
            turns -= 1
            continue
        if not part:
            return reply
        reply += part


def read_input(stdin: int) -> bytes:
    """Read the network configuration to its end."""
    conf = b""
    try:
        while len(conf) <= FRAME_LIMIT:
            part = posix.read(stdin, 65536)
            if not part:
                return conf
            conf += part
    except OSError as error:
        raise CallError(IO_FAILURE, "standard input is not readable: %s" % error) from error
    raise CallError(NOT_DECODABLE, "standard input exceeds %d bytes" % FRAME_LIMIT)


def replace_input(stdin: int, conf: bytes) -> None:
    """Make `conf` the content of standard input, which has been read already."""
    try:
        memory = posix.memfd_create("conf")
        write_all(memory, conf)
        posix.lseek(memory, 0, 0)
        posix.dup2(memory, stdin)
    except OSError as error:
        raise CallError(TRY_AGAIN, "standard input cannot be passed on: %s" % error) from error


def become(direct: str, env: "dict[bytes, bytes]") -> CallError:
    """Turn this process into the agentless entry point; return why that failed."""
    try:
        posix.execve(direct, [direct], env)
    except OSError as error:
        text = (
            "nothing listens at %s, and %s cannot be started: %s; "
            "install the plugin again: poolctl node install --bin-dir DIRECTORY"
        )
        return CallError(TRY_AGAIN, text % (SOCKET, direct, error.strerror))


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`."""
    while data:
        data = data[posix.write(fd, data) :]


def error_json(code: int, text: str) -> bytes:
    """Write a CNI error as JSON."""
    safe = "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text)
    return ('{"cniVersion":"1.1.0","code":%d,"msg":"%s"}\n' % (code, safe)).encode()


if __name__ == "__main__":
    sys.exit(main())
