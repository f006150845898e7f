"""Where etcd is and how to be let in. Plain data: importing this imports no etcd client."""

import re
from dataclasses import dataclass, field
from typing import Literal

from poolmgr.errors import InvalidRequestError

_ENDPOINT = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+):(?P<port>[0-9]{1,5})/?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    One member of the etcd cluster, as clients reach it.

    Attributes:
        host: Name or address; IPv6 addresses in brackets.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int

    @property
    def target(self) -> str:
        """Host and port as one word."""
        return f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.target}"

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """
        Read "http://host:port", "https://host:port" or "host:port" (which is http).

        Raises:
            InvalidRequestError: `text` is none of these.
        """
        match = _ENDPOINT.fullmatch(text)
        if not match or not 1 <= int(match["port"]) <= 65535:
            raise InvalidRequestError(
                f"etcd endpoint {text!r} is not of the form http://host:port or https://host:port",
                field="endpoints",
            )
        scheme: Literal["http", "https"] = "https" if match["scheme"] == "https" else "http"
        return cls(scheme, match["host"], int(match["port"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    How to connect to etcd.

    Empty texts mean the same as None, as they do in Calico's configuration files.

    Attributes:
        endpoints: At least one; see `Endpoint.parse`. Kept in the form scheme://host:port.
        ca_file: PEM file with the authorities that sign the servers' certificates; None = those
            gRPC ships with.
        cert_file: PEM file with the client's certificate, if it has one.
        key_file: PEM file with the key of `cert_file`.
        username: etcd user, if the cluster wants a password.
        password: Of `username`.
    """

    endpoints: tuple[str, ...]
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """
        Check what can be checked without looking at the world.

        Raises:
            InvalidRequestError: An endpoint is malformed or there is none, or of two options
                that need each other one is missing.
        """
        for name in ("ca_file", "cert_file", "key_file", "username", "password"):
            object.__setattr__(self, name, getattr(self, name) or None)
        object.__setattr__(self, "endpoints", tuple(str(each) for each in self.addresses))
        if not self.endpoints:
            raise InvalidRequestError("no etcd endpoint is given", field="endpoints")
        self._require_both("cert_file", "key_file")
        self._require_both("username", "password")
        if not any(each.scheme == "https" for each in self.addresses):
            for name in ("ca_file", "cert_file"):
                if getattr(self, name):
                    raise InvalidRequestError(
                        f"{name} is given, but no etcd endpoint begins with https://",
                        field=name,
                    )

    @classmethod
    def parse(cls, endpoints_text: str, **options: str | None) -> "Settings":
        """
        Make settings from endpoints in one text, separated by commas.

        Args:
            endpoints_text: For example "http://10.0.0.1:2379,http://10.0.0.2:2379".
            options: The other attributes, by name.

        Raises:
            InvalidRequestError: As for the constructor.
        """
        words = (word.strip() for word in endpoints_text.split(","))
        return cls(endpoints=tuple(word for word in words if word), **options)

    @property
    def addresses(self) -> tuple[Endpoint, ...]:
        """The endpoints, taken apart."""
        return tuple(Endpoint.parse(each) for each in self.endpoints)

    def _require_both(self, first: str, second: str) -> None:
        for given, missing in ((first, second), (second, first)):
            if getattr(self, given) and not getattr(self, missing):
                raise InvalidRequestError(
                    f"{given} is given, but {missing} is not", field=missing
                )
