"""Another program on the same etcd: unguarded calls through the plain stubs."""

import grpc

from poolmgr.store.etcd3_compat import etcdrpc


class RawEtcd:
    def __init__(self, endpoint: str) -> None:
        self._channel = grpc.insecure_channel(endpoint)
        self._kv = etcdrpc.KVStub(self._channel)
        self._auth = etcdrpc.AuthStub(self._channel)

    def put(self, key: str | bytes, value: str | bytes) -> int:
        """Write a key whatever it holds, and return the revision."""
        request = etcdrpc.PutRequest(key=_bytes(key), value=_bytes(value))
        return int(self._kv.Put(request, timeout=5).header.revision)

    def get(self, key: str | bytes) -> bytes | None:
        answer = self._kv.Range(etcdrpc.RangeRequest(key=_bytes(key)), timeout=5)
        return answer.kvs[0].value if answer.kvs else None

    def revision_of(self, key: str) -> int:
        """Return the revision of a key's last change; 0 = it does not exist."""
        answer = self._kv.Range(etcdrpc.RangeRequest(key=_bytes(key)), timeout=5)
        return int(answer.kvs[0].mod_revision) if answer.kvs else 0

    def dump(self) -> dict[str, bytes]:
        """Return every key and its value."""
        request = etcdrpc.RangeRequest(key=b"\0", range_end=b"\0")
        return {kv.key.decode(): kv.value for kv in self._kv.Range(request, timeout=5).kvs}

    def delete(self, key: str | bytes) -> None:
        self._kv.DeleteRange(etcdrpc.DeleteRangeRequest(key=_bytes(key)), timeout=5)

    def delete_everything(self) -> None:
        request = etcdrpc.DeleteRangeRequest(key=b"\0", range_end=b"\0")
        self._kv.DeleteRange(request, timeout=5)

    def compact(self, revision: int) -> None:
        self._kv.Compact(etcdrpc.CompactionRequest(revision=revision), timeout=5)

    def require_password(self, password: str) -> None:
        """Switch authentication on, with the user root, who may do everything."""
        self._auth.UserAdd(etcdrpc.AuthUserAddRequest(name="root", password=password))
        self._auth.UserGrantRole(etcdrpc.AuthUserGrantRoleRequest(user="root", role="root"))
        self._auth.AuthEnable(etcdrpc.AuthEnableRequest())

    def add_user(self, name: str, password: str, *, root_password: str) -> None:
        """Add a user who may do nothing."""
        login = etcdrpc.AuthenticateRequest(name="root", password=root_password)
        token = self._auth.Authenticate(login).token
        user = etcdrpc.AuthUserAddRequest(name=name, password=password)
        self._auth.UserAdd(user, metadata=(("token", token),))

    def grant(self, name: str, password: str, rights: dict[str, str]) -> None:
        """Add a user, who may read ("READ") or change ("READWRITE") keys and what is below "/"."""
        self._auth.UserAdd(etcdrpc.AuthUserAddRequest(name=name, password=password))
        self._auth.RoleAdd(etcdrpc.AuthRoleAddRequest(name=name))
        for key, right in rights.items():
            end = f"{key[:-1]}0" if key.endswith("/") else ""
            permission = {"permType": right, "key": _bytes(key), "range_end": _bytes(end)}
            self._auth.RoleGrantPermission(
                etcdrpc.AuthRoleGrantPermissionRequest(name=name, perm=permission)
            )
        self._auth.UserGrantRole(etcdrpc.AuthUserGrantRoleRequest(user=name, role=name))

    def close(self) -> None:
        self._channel.close()


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
