"""
Masks secrets in what is handed on: known by their names, by their looks, or from elsewhere.

Rules:

1. In doubt it is masked: a report with a hole is worth more than a password in a tracker.
2. What was masked once is masked wherever else it stands, if it is asked for again: an error
   may quote it. So everything is masked twice, after all of it has been seen.
3. Names of files stay: they tell where a secret is, and not what it is.
"""

import json
import re
from typing import Any

MASK = "(masked)"

_SHORTEST = 4  # what is shorter is more often a part of another word than the secret
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SECRET = re.compile(
    r"pass_?(?:w|phrase|code)|(?<!by)pass$|pwd|(?:^|_)pw$|psk|jwt|bearer|token|secret|credential"
    r"|cookie|authorization|(?:^|_|o)auth(?:_data)?$|keys?$|key_?data|(?:private|access|api)_?key"
)
_PUBLIC = re.compile(r"public_?keys?$")
_INNOCENT = frozenset({"apiVersion", "kind", "name", "namespace", "type"})
"""Beneath a secret: masked there, and not looked for elsewhere, where they are common words."""

_FILE = re.compile(r"(/[\w.-]+)+\.\w{1,10}")  # base64 has slashes, but neither dots nor dashes
_LOOKS = (
    re.compile(r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)", re.DOTALL),
    re.compile(r"LS0tLS1CRUdJTi[\w+/=]*"),  # the same in base64
    re.compile(r"\beyJ[\w-]{4,}(?:\.[\w-]*){1,4}"),  # a JWT: "eyJ" is {" in base64
    re.compile(r"(?<=\bBearer )\s*\S+", re.IGNORECASE),
    re.compile(r"(?<=\bBasic )\s*[A-Za-z0-9+/]{8,}=*"),
)
_URL = re.compile(r"(?<=://)[^\s\"']+")
_NAME = re.compile(  # of bounded length: a text may be one word of a megabyte
    r"(?:(?P<flag>(?<![\w-])--?)|(?<!\w))(?P<name>\w[\w.-]{0,200}+)"
    r"(?:\\*[\"']?\s*(?P<sign>[=:])\s*|(?(flag)\s+(?!-)|(?!)))"
)
_QUOTED = r"(?P<quote>\\*[\"'])(?P<inner>.*?)(?P=quote)"
_WORD = re.compile(rf"{_QUOTED}|\S+", re.DOTALL)
_LINE = re.compile(rf"{_QUOTED}|[^\n]+")


class Masker:
    """Masks secrets, and remembers them."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()

    def value(self, value: Any, key: str = "") -> Any:
        """
        Copy a JSON value, secrets masked.

        Args:
            key: Under which it stands.
        """
        names_user = "endpoint" in key.lower() and isinstance(value, str) and "@" in value
        if names_user or (_is_secret(key) and not _is_file(key, value)):
            return self.hidden(value)
        match value:
            case dict():
                return self._object(value)
            case list():
                return [
                    self.value(each, _flag(before))
                    for before, each in zip(["", *value], value, strict=False)
                ]
            case str():
                return self.text(value)
            case _:
                return value

    def hidden(self, value: Any) -> Any:
        """Mask a secret whole, with all that is beneath; what is empty, or yes or no, stays."""
        if not value or isinstance(value, bool):
            return value
        self._note(value)
        return MASK

    def text(self, text: str) -> str:
        """Mask secrets in a text, which may be JSON."""
        if text.lstrip().startswith(("{", "[")):
            try:
                parsed = json.loads(text)
            except ValueError:
                pass
            else:
                return json.dumps(self.value(parsed))
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        for look in _LOOKS:
            text = look.sub(MASK, text)
        text = _URL.sub(_without_user, text)
        return self._assignments(text)

    def _object(self, value: dict[str, Any]) -> dict[str, Any]:
        name = next((value[key] for key in ("name", "key") if key in value), None)
        if "value" not in value or not isinstance(name, str):
            return {self.text(key): self.value(each, key) for key, each in value.items()}
        # {"name": "DB_PASSWORD", "value": "..."}, as variables are written
        keys = {key: "" if key == "key" else key for key in value} | {"value": name}
        return {self.text(key): self.value(each, keys[key]) for key, each in value.items()}

    def _note(self, value: Any) -> None:
        match value:
            case dict():
                for key, each in value.items():
                    if key not in _INNOCENT:
                        self._note(each)
            case list():
                for each in value:
                    self._note(each)
            case bool() | None:
                pass
            case _ if len(str(value)) >= _SHORTEST and MASK not in str(value):
                self._secrets.add(str(value))

    def _assignments(self, text: str) -> str:
        """Mask what follows a name: NAME=value, NAME: the rest of the line, --name value."""
        done, at = [], 0
        for match in _NAME.finditer(text):
            is_prose = match["sign"] == ":" and match["name"].lower() in ("key", "keys")
            if match.start() < at or is_prose or not _is_secret(match["name"]):
                continue
            pattern = _LINE if match["sign"] == ":" else _WORD
            found = pattern.match(text, match.end())
            if not found:
                continue
            value = (found["inner"] if found["quote"] else found[0]).strip()
            if value in ("", MASK) or _is_file(match["name"], value):
                continue
            self._note(value)
            quote = found["quote"] or ""
            done.append(f"{text[at : match.end()]}{quote}{MASK}{quote}")
            at = found.end()
        return "".join([*done, text[at:]])


def _without_user(url: re.Match[str]) -> str:
    user, at, rest = url[0].rpartition("@")
    return f"{MASK}@{rest}" if user and at else url[0]


def _is_secret(name: str) -> bool:
    """Tell whether what has this name, in any spelling, is a secret."""
    words = re.sub(r"[^a-z0-9]+", "_", _CAMEL.sub("_", name).lower()).strip("_")
    return bool(_SECRET.search(words)) and not _PUBLIC.search(words)


def _flag(before: Any) -> str:
    """Return the option whose value comes next in a list of arguments; "" = none does."""
    is_flag = isinstance(before, str) and re.fullmatch(r"--?[\w.-]+", before)
    return before if is_flag else ""


def _is_file(key: str, value: Any) -> bool:
    """Tell whether a value is the name of a file; a password may look like one."""
    is_file = isinstance(value, str) and _FILE.fullmatch(value) is not None
    return is_file and not re.search(r"pass(word|phrase)?$", key, re.IGNORECASE)
