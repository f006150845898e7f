"""
Reading and changing the IPAM configuration.

Rules (Calico libcalico-go/lib/ipam, SetIPAMConfig; ours compares, Calico's last writer wins):

1. StrictAffinity and autoAllocateBlocks cannot both be off: nobody could say whose address a
   block's is.
2. A limit of blocks needs StrictAffinity; without it a host at its limit would borrow.
3. A stored configuration that breaks these rules is honoured all the same.
"""

from poolmgr.core import records
from poolmgr.core.config import IPAMConfig
from poolmgr.core.draft import Draft
from poolmgr.core.outcome import Config
from poolmgr.core.request import ChangeConfig, SetConfig
from poolmgr.core.txn import EPOCH_KEY
from poolmgr.errors import InvalidRequestError


def plan_get_config(draft: Draft) -> Config:
    """
    Return the configuration, defaults applied.

    Raises:
        Missing: It is not known yet.
    """
    return Config(config=draft.fork().config())


def plan_set_config(draft: Draft, request: SetConfig | ChangeConfig) -> Config:
    """
    Replace the configuration, or some fields of what is stored at the moment of the write.

    Raises:
        Missing: The present one is not known yet.
        InvalidRequestError: The new one breaks a rule.
    """
    if isinstance(request, SetConfig):
        check(request.config)
    draft.need(EPOCH_KEY, records.CONFIG_KEY)
    if isinstance(request, SetConfig):
        wanted = request.config
    else:
        wanted = request.over(draft.config())
        check(wanted)
    if draft.config() != wanted or not draft.exists(records.CONFIG_KEY):
        draft.put(records.CONFIG_KEY, wanted)
    return Config(config=wanted)


def check(config: IPAMConfig) -> None:
    """
    Check a configuration that somebody wants to store.

    Raises:
        InvalidRequestError: It breaks a rule; the message names field and value.
    """
    if not config.strict_affinity and not config.auto_allocate_blocks:
        raise InvalidRequestError(
            "StrictAffinity and AutoAllocateBlocks are both false; one of them must be true",
            field="auto_allocate_blocks",
        )
    if config.max_blocks_per_host > 0 and not config.strict_affinity:
        raise InvalidRequestError(
            f"MaxBlocksPerHost is {config.max_blocks_per_host}, but StrictAffinity is false; "
            "a limit of blocks needs StrictAffinity",
            field="maxBlocksPerHost",
        )
    if config.cooldown_s < 0:
        raise InvalidRequestError(
            f"IPCooldownSeconds is {config.cooldown_s}, must be 0 or more",
            field="ipCooldownSeconds",
        )
