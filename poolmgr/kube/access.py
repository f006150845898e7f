"""How to reach the Kubernetes API, and what may be asked for there."""

from dataclasses import dataclass, field

from poolmgr.api.meta import NAME_RULE, is_name
from poolmgr.errors import InvalidRequestError

TIMEOUT_S = 2.0
FIELD = "kubernetes.kubeconfig"
"""What a message about them names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """
    How to reach the API; "" = not given. The rest beats what the kubeconfig says.

    Attributes:
        kubeconfig: Path of the file.
        api_root: URL of the server.
        token: Bearer token.
        client_certificate: Path of a PEM file, as the following.
    """

    kubeconfig: str = ""
    api_root: str = ""
    token: str = field(default="", repr=False)
    client_certificate: str = ""
    client_key: str = ""
    certificate_authority: str = ""


def check_names(*names: str) -> None:
    """
    Refuse what would become another path.

    Raises:
        InvalidRequestError: No object can have such a name.
    """
    for name in names:
        if not is_name(name):
            raise InvalidRequestError(f"{name!r:.80} is not a Kubernetes name: {NAME_RULE}")


def unusable(path: str, why: str) -> InvalidRequestError:
    """Make the error for a kubeconfig that is of no use."""
    return InvalidRequestError(f"kubeconfig {path} cannot be used: {why}", field=FIELD)
