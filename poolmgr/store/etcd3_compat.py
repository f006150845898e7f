"""
Loads the messages and stubs of the package `etcd3` under any current protobuf.

etcd3 0.12.0 speaks the right protocol, but the Python code that protoc generated for it in 2020
does not run on protobuf 4 and later. That code carries the protocol's description, serialized,
as a literal. So the literal is taken out of the installed, unmodified file, protobuf builds the
message classes from it, and they take the place of the generated modules before the package's
own `etcdrpc` is imported around them.

`etcd3.etcdrpc` is all that is loaded: the client object on top of it would add a fifth to the
import time (it needs tenacity, leases, locks and a watcher), and hides the answers' headers and
the errors' texts. Who imports `etcd3` afterwards gets all of it, working.
"""

import ast
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import google.protobuf
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper
from google.protobuf.unknown_fields import UnknownFieldSet

VERSION = "0.12.0"

_GENERATED = ("kv_pb2", "auth_pb2", "rpc_pb2")  # each after those that it imports
_LITERAL = re.compile(r"^  serialized_pb=_b\((?P<literal>'.*')\)$", re.MULTILINE)


def _load() -> ModuleType:
    """
    Import `etcd3.etcdrpc`, making the message classes where the package cannot.

    Raises:
        ImportError: etcd3 is missing or not the release that this code knows.
    """
    if "etcd3.etcdrpc" in sys.modules or int(google.protobuf.__version__.split(".")[0]) < 4:
        return importlib.import_module("etcd3.etcdrpc")
    root = _find_package()
    pool = descriptor_pool.DescriptorPool()  # private: other packages describe etcd's files too
    for name in _GENERATED:
        pool.AddSerializedFile(_description(root / "etcdrpc" / f"{name}.py"))
    messages = {name: _messages(pool, name) for name in _GENERATED}
    for name, module in messages.items():
        sys.modules[f"etcd3.etcdrpc.{name}"] = module
    spec = importlib.util.spec_from_file_location(
        "etcd3.etcdrpc", root / "etcdrpc" / "__init__.py"
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    vars(package).update(messages)
    sys.modules["etcd3.etcdrpc"] = package
    spec.loader.exec_module(package)
    return package


def _find_package() -> Path:
    spec = importlib.util.find_spec("etcd3")
    if not spec or not spec.origin:
        raise ImportError(
            f"the package etcd3 is missing; install it: pip install etcd3=={VERSION}"
        )
    init = Path(spec.origin)
    # Asking importlib.metadata would cost 20 ms in every agentless call.
    declared = re.search(r"^__version__ = '(.*)'$", init.read_text("utf-8"), re.MULTILINE)
    if not declared or declared[1] != VERSION:
        found = declared[1] if declared else "an unknown version"
        raise ImportError(
            f"{init.parent} is etcd3 {found}, and {VERSION} is needed; "
            f"remove it or its fork and install: pip install etcd3=={VERSION}"
        )
    return init.parent


def _description(generated: Path) -> bytes:
    """Take the serialized FileDescriptorProto out of a generated module, without running it."""
    found = _LITERAL.search(generated.read_text("utf-8"))
    if not found:
        raise ImportError(
            f"{generated} is not the file that etcd3 {VERSION} ships; "
            f"install it again: pip install --force-reinstall etcd3=={VERSION}"
        )
    text: str = ast.literal_eval(found["literal"])
    return text.encode("latin-1")  # what its own _b() does


def _messages(pool: descriptor_pool.DescriptorPool, name: str) -> ModuleType:
    """Make the module of message classes and enumerations that protoc would generate today."""
    description = pool.FindFileByName(f"{name.removesuffix('_pb2')}.proto")
    module = ModuleType(f"etcd3.etcdrpc.{name}")
    vars(module)["DESCRIPTOR"] = description
    for message in description.message_types_by_name.values():
        setattr(module, message.name, message_factory.GetMessageClass(message))
    for enum in description.enum_types_by_name.values():
        setattr(module, enum.name, enum_type_wrapper.EnumTypeWrapper(enum))
        for value in enum.values:
            setattr(module, value.name, value.number)
    return module


def unknown_fields(message: Any) -> dict[int, list[Any]]:
    """Return what a message holds that the package's release does not know, by field number."""
    found: dict[int, list[Any]] = {}
    fields = UnknownFieldSet(message)
    for at in range(len(fields)):
        found.setdefault(fields[at].field_number, []).append(fields[at].data)
    return found


etcdrpc = _load()  # once: the lock of this module's import keeps other threads out
"""The module `etcd3.etcdrpc`."""
