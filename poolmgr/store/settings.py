"""Where etcd is and how to be let in. Plain data: importing this imports no etcd client."""

import re
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from typing import Literal

from poolmgr.errors import InvalidRequestError

_ENDPOINT = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+):(?P<port>[0-9]{1,5})/?",
    re.ASCII,
)
_OPTIONS = ("ca_file", "cert_file", "key_file", "username", "password")
_NEED_EACH_OTHER = (
    ("cert_file", "key_file"),
    ("key_file", "cert_file"),
    ("username", "password"),
    ("password", "username"),
)
_USER = re.compile(r"(?:[a-z]+://)?(.*@)", re.ASCII | re.IGNORECASE | re.DOTALL)


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
        if user := _USER.match(text):  # not to be quoted: a password may be part of it
            rest = f"{text[: user.start(1)]}***@{text[user.end() :]}"
            raise InvalidRequestError(
                f"etcd endpoint {rest!r} names a user; that is set apart from the endpoints, "
                "as ETCD_USERNAME and ETCD_PASSWORD, or as etcdUsername and etcdPassword in a "
                "configuration file",
                field="endpoints",
            )
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
        names: Attribute -> what the user calls it, for messages; not kept.
    """

    endpoints: tuple[str, ...]
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    names: InitVar[Mapping[str, str] | None] = None

    def __post_init__(self, names: Mapping[str, str] | None) -> None:
        """
        Check what can be checked without looking at the world.

        Raises:
            InvalidRequestError: An endpoint is malformed or there is none, or of two options
                that need each other one is missing.
        """
        for name in _OPTIONS:
            object.__setattr__(self, name, getattr(self, name) or None)
        object.__setattr__(self, "endpoints", tuple(str(each) for each in self.addresses))
        if not self.endpoints:
            raise InvalidRequestError("no etcd endpoint is given", field="endpoints")
        self._check_options({name: name for name in _OPTIONS} | dict(names or {}))

    def _check_options(self, called: Mapping[str, str]) -> None:
        for given, missing in _NEED_EACH_OTHER:
            if getattr(self, given) and not getattr(self, missing):
                raise InvalidRequestError(
                    f"{called[given]} is given, but {called[missing]} is not",
                    field=called[missing],
                )
        if any(each.scheme == "https" for each in self.addresses):
            return
        for name in ("ca_file", "cert_file"):
            if getattr(self, name):
                raise InvalidRequestError(
                    f"{called[name]} is given, but no etcd endpoint begins with https://",
                    field=called[name],
                )

    @classmethod
    def parse(
        cls,
        endpoints_text: str,
        *,
        names: Mapping[str, str] | None = None,
        **options: str | None,
    ) -> "Settings":
        """
        Make settings from endpoints in one text, separated by commas.

        Args:
            endpoints_text: For example "http://10.0.0.1:2379,http://10.0.0.2:2379".
            names: As for the constructor.
            options: The other attributes, by name.

        Raises:
            InvalidRequestError: As for the constructor.
        """
        # A password may contain commas: the whole is refused, lest a half of it be quoted.
        words = [endpoints_text] if "@" in endpoints_text else endpoints_text.split(",")
        endpoints = tuple(word.strip() for word in words if word.strip())
        return cls(endpoints=endpoints, names=names, **options)

    @property
    def addresses(self) -> tuple[Endpoint, ...]:
        """The endpoints, taken apart."""
        return tuple(Endpoint.parse(each) for each in self.endpoints)
