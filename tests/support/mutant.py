"""What a seeded fault is."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """
    One fault.

    Attributes:
        name: What is broken, in a word or two.
        path: File to patch, from the repository's root.
        old: Text in it.
        new: What takes its place.
        node: Pytest node that must fail.
        slow: Whether it runs with --slow only.
    """

    name: str
    path: str
    old: str
    new: str
    node: str
    slow: bool = False


def without(name: str, path: str, line: str, node: str, *, slow: bool = True) -> Mutant:
    """A mutant that leaves a compare out; `pass` takes its place."""
    return Mutant(name=name, path=path, old=line, new="pass", node=node, slow=slow)
