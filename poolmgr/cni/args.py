"""CNI_ARGS understood, and what counts as a name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from poolmgr.cidr import IPAddress, parse_address
from poolmgr.cni.result import CallError, Code

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,254}", re.ASCII)
NAME_RULE = "letters, digits, _ . - only, a letter or digit first, at most 255 in all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Args:
    """
    What CNI_ARGS says.

    Attributes:
        address: The address asked for; None = it does not say.
        pod: Kubernetes pod name; "" = not given.
        namespace: Kubernetes namespace; "" = not given.
    """

    address: IPAddress | None = None
    pod: str = ""
    namespace: str = ""


def parse_args(text: str) -> Args:
    """
    Read CNI_ARGS: NAME=value pairs with semicolons between them.

    Raises:
        CallError: With code 4.
    """
    given: dict[str, str] = {}
    for pair in text.split(";") if text else ():
        name, _, value = pair.partition("=")
        if not name or pair.count("=") != 1:
            raise _bad_args(f"{pair!r:.80} is not of the form NAME=value")
        if name in given:
            raise _bad_args(f"{name!r:.80} is given twice")
        given[name] = value
    tolerant = given.pop("IgnoreUnknown", "false").lower()
    if tolerant not in {"1", "true", "0", "false"}:
        raise _bad_args(f"IgnoreUnknown={tolerant!r:.80} must be 1, true, 0 or false")
    unknown = [name for name in given if name != "IP" and not name.startswith("K8S_")]
    if unknown and tolerant in {"0", "false"}:
        raise _bad_args(f"{unknown[0]!r:.80} is not known; remove it or add IgnoreUnknown=1")
    return Args(
        address=_asked_address(given.get("IP", "")),
        pod=_kubernetes_name(given, "K8S_POD_NAME"),
        namespace=_kubernetes_name(given, "K8S_POD_NAMESPACE"),
    )


def _bad_args(why: str) -> CallError:
    return CallError(Code.ENVIRONMENT, f"CNI_ARGS: {why}")


def _asked_address(text: str) -> IPAddress | None:
    try:
        return parse_address(text) if text else None
    except ValueError:
        raise _bad_args(
            f"IP={text!r:.80} is not an address; write one, without prefix length"
        ) from None


def _kubernetes_name(given: Mapping[str, str], name: str) -> str:
    value = given.get(name, "")
    if value and not NAME.fullmatch(value):
        raise _bad_args(f"{name}={value!r:.80} is not a name: {NAME_RULE}")
    return value
