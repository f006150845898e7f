"""
A client of the Container Runtime Interface, the gRPC services through which a kubelet drives its runtime.

It knows the few messages and fields that tests need; gRPC passes over the others.

Source: k8s.io/cri-api pkg/apis/runtime/v1/api.proto, for the names and numbers of fields.
"""

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass

Json = dict[str, Any]

_PACKAGE = "runtime.v1"
_TIMEOUT_S = 120

# Field -> number and type; [] = repeated. A map is a list of key and value to both sides.
_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "Pair": {"key": (1, "string"), "value": (2, "string")},
    "StatusRequest": {},
    "StatusResponse": {"status": (1, "RuntimeStatus")},
    "RuntimeStatus": {"conditions": (1, "[RuntimeCondition]")},
    "RuntimeCondition": {
        "type": (1, "string"),
        "status": (2, "bool"),
        "message": (4, "string"),
    },
    "PodSandboxMetadata": {
        "name": (1, "string"),
        "uid": (2, "string"),
        "namespace": (3, "string"),
        "attempt": (4, "uint32"),
    },
    "LinuxPodSandboxConfig": {"cgroup_parent": (1, "string")},
    "PodSandboxConfig": {
        "metadata": (1, "PodSandboxMetadata"),
        "annotations": (7, "[Pair]"),
        "linux": (8, "LinuxPodSandboxConfig"),
    },
    "RunPodSandboxRequest": {"config": (1, "PodSandboxConfig")},
    "RunPodSandboxResponse": {"pod_sandbox_id": (1, "string")},
    "StopPodSandboxRequest": {"pod_sandbox_id": (1, "string")},
    "StopPodSandboxResponse": {},
    "RemovePodSandboxRequest": {"pod_sandbox_id": (1, "string")},
    "RemovePodSandboxResponse": {},
    "ListPodSandboxRequest": {},
    "ListPodSandboxResponse": {"items": (1, "[PodSandbox]")},
    "PodSandbox": {"id": (1, "string"), "state": (3, "uint32")},
    "PodSandboxStatusRequest": {"pod_sandbox_id": (1, "string"), "verbose": (2, "bool")},
    "PodSandboxStatusResponse": {"status": (1, "PodSandboxStatus"), "info": (2, "[Pair]")},
    "PodSandboxStatus": {"network": (5, "PodSandboxNetworkStatus")},
    "PodSandboxNetworkStatus": {"ip": (1, "string"), "additional_ips": (2, "[PodIP]")},
    "PodIP": {"ip": (1, "string")},
    "ImageStatusRequest": {"image": (1, "ImageSpec")},
    "ImageSpec": {"image": (1, "string")},
    "ImageStatusResponse": {"image": (1, "Image")},
    "Image": {"id": (1, "string")},
}
_SCALARS = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "string": FieldDescriptorProto.TYPE_STRING,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
}


def _classes() -> DescriptorPool:
    file = FileDescriptorProto(name="cri.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            one = kind.strip("[]")
            added = message.field.add(name=field, number=number)
            added.label = added.LABEL_OPTIONAL if kind == one else added.LABEL_REPEATED
            added.type = _SCALARS.get(one, added.TYPE_MESSAGE)
            if one not in _SCALARS:
                added.type_name = f".{_PACKAGE}.{one}"
    pool = DescriptorPool()
    pool.Add(file)
    return pool


_POOL = _classes()


def pairs(values: Mapping[str, str]) -> list[Json]:
    """Write a map as the list that it is in messages."""
    return [{"key": key, "value": value} for key, value in values.items()]


class Cri:
    """A runtime behind a unix socket. Threads may share it."""

    def __init__(self, socket: str) -> None:
        # Without these the channel rests for a second after each attempt at a runtime that starts.
        quickly = [
            (f"grpc.{which}_reconnect_backoff_ms", 50) for which in ("initial", "min", "max")
        ]
        self._channel = grpc.insecure_channel(f"unix:{socket}", quickly)

    def __call__(self, method: str, **request: object) -> Json:
        """Call a method; without anybody at the socket this waits for somebody."""
        service = "ImageService" if "Image" in method else "RuntimeService"
        call = self._channel.unary_unary(f"/{_PACKAGE}.{service}/{method}")
        message = ParseDict(request, _class_of(f"{method}Request")())
        data = call(message.SerializeToString(), timeout=_TIMEOUT_S, wait_for_ready=True)
        reply = _class_of(f"{method}Response").FromString(data)
        return MessageToDict(reply, preserving_proto_field_name=True)

    def close(self) -> None:
        self._channel.close()


def _class_of(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
