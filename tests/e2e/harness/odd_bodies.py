"""Bodies of a `tools/call` that decoders may read differently: every oddity by itself, then pairs drawn from a seed."""

import json
import random
from dataclasses import dataclass, field
from typing import Callable

FORBIDDEN = "hidden"
ALLOWED = "ok_a"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
#: Names that the client may call, by its pattern `ok_*`.
ALLOWED_NAMES = [ALLOWED, "ok_A", "ok_é", "ok_e\u0301", "ok_\u0430", "ok_ａ", "ok_😀", 'ok_"', "ok_\\", "ok_hidden", "ok_ hidden", "ok_K", "ok_\u212a", "ok_\u017f"]
FORBIDDEN_NAMES = [FORBIDDEN, "Hidden", "OK_a", "Ok_a", "o\u212a_a", "\u043ek_a", "ｏk_a", "xok_a", "ok-a", "", "*", "ok"]
#: What careless programs drop from the ends of a text, or from within, or end it at.
DROPPED = ["\\u0000", "\\u0000x", "\\t", " ", "\\n", "\\u00a0", "\\u0085", "\\u001f", "\\u200b", "\\u2028", "\\ufeff", "\\u00ad", "\\ud800", "\\udc00x"]

Member = tuple[str, str]  # What stands between the quotes of the key, and the raw JSON of the value.


@dataclass
class Body:
    """A message before it is bytes."""

    params: list[Member] = field(default_factory=lambda: [("name", f'"{ALLOWED}"'), ("arguments", "{}")])
    message: list[Member] = field(default_factory=lambda: [("jsonrpc", '"2.0"'), ("id", '"7"'), ("method", '"tools/call"')])
    before: bytes = b""
    behind: bytes = b""
    params_first: bool = False
    coding: str = "utf-8"
    raw: Callable[[bytes], bytes] = lambda text: text

    def bytes(self) -> bytes:
        params = [("params", as_object(self.params))]
        members = params + self.message if self.params_first else self.message + params
        return self.before + self.raw(as_object(members).encode(self.coding, "surrogatepass")) + self.behind


@dataclass
class Case:
    what: str
    body: bytes


Bend = Callable[[Body], None]


def as_object(members: list[Member]) -> str:
    return "{" + ",".join(f'"{key}":{value}' for key, value in members) + "}"


def text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def escaped(key: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in key)


def spellings(key: str) -> list[str]:
    """The key in other spellings that some decoder takes for it: in case, and in letters that fold to ASCII."""
    folds = {"s": "\u017f", "k": "\u212a", "i": "\u0130", "I": "\u0131"}
    found = [key.upper(), key.capitalize(), key.swapcase(), key[:-1] + key[-1].upper()]
    found += [key.replace(letter, folded, 1) for letter, folded in folds.items()]
    found += [key.replace("i", "\u0131", 1), key.upper().replace("S", "\u017f")]
    return sorted({spelling for spelling in found if spelling != key})


def imitations(key: str) -> list[str]:
    """The key with what careless programs drop, already escaped."""
    return [key + dropped for dropped in DROPPED] + [dropped + key for dropped in (" ", "\\ufeff", "\\t")] + [key[:2] + "\\u200b" + key[2:]]


def member(place: str, key: str, value: str, first: bool) -> Bend:
    def bend(body: Body) -> None:
        members = getattr(body, place)
        members.insert(0 if first else len(members), (key, value))

    return bend


def changed(place: str, which: str, key: str | None = None, value: str | None = None) -> Bend:
    """Another spelling or another value of a member."""

    def bend(body: Body) -> None:
        members = getattr(body, place)
        members[:] = [(key or name, value or old) if name == which else (name, old) for name, old in members]

    return bend


def put(**attributes: object) -> Bend:
    def bend(body: Body) -> None:
        for name, value in attributes.items():
            setattr(body, name, value)

    return bend


def replaced(old: bytes, new: bytes) -> Bend:
    return put(raw=lambda text: text.replace(old, new, 1))


def method_beside(spelling: str, first: bool) -> Bend:
    """`ping` by the exact key, the call by the other spelling."""

    def bend(body: Body) -> None:
        changed("message", "method", value='"ping"')(body)
        changed("params", "name", value=f'"{FORBIDDEN}"')(body)
        member("message", spelling, '"tools/call"', first)(body)

    return bend


def meta(*members: Member) -> Bend:
    return member("params", "_meta", as_object(list(members)), False)


def bends() -> dict[str, Bend]:
    """Every oddity by its name. The forbidden tool is always somewhere where a decoder may find it, if the oddity is one of keys."""
    found: dict[str, Bend] = {"nothing": lambda body: None, "params first": put(params_first=True)}
    hidden, other_params = f'"{FORBIDDEN}"', f'{{"name":"{FORBIDDEN}"}}'

    def keys(kind: str, key: str, spelled: list[str], beside: Callable[[str, bool], Bend]) -> None:
        for spelling in spelled:
            for first in (True, False):
                found[f"{kind} {key} as {spelling!a}, {'first' if first else 'last'}"] = beside(spelling, first)

    for kind, spelled in [
        ("folded", spellings),
        ("folded and escaped", lambda key: [escaped(spelling) for spelling in spellings(key)[:3]]),
        ("twice", lambda key: [key, escaped(key), key[:-1] + escaped(key[-1])]),
        ("imitated", imitations),
    ]:
        keys(kind, "name", spelled("name"), lambda spelling, first: member("params", spelling, hidden, first))
        keys(kind, "params", spelled("params"), lambda spelling, first: member("message", spelling, other_params, first))
        keys(kind, "method", spelled("method"), method_beside)
        keys(kind, "_meta", spelled("_meta")[:6], lambda spelling, first: member("params", spelling, f'{{"{VERSION_KEY}":"2099-01-01"}}', first))
    for spelling in spellings(VERSION_KEY):
        found[f"folded version as {spelling!a}"] = meta((VERSION_KEY, '"2025-06-18"'), (spelling, '"2099-01-01"'))
    for key in ("name", "params", "method", "id", "arguments", "jsonrpc"):
        place = "params" if key in ("name", "arguments") else "message"
        if key != "params":
            found[f"escaped key {key}"] = changed(place, key, key=escaped(key))
        found[f"only {key.upper()}"] = changed(place, key, key=key.upper()) if key != "params" else replaced(b'"params"', b'"PARAMS"')
    for name in ALLOWED_NAMES + FORBIDDEN_NAMES:
        found[f"tool {name!a}"] = changed("params", "name", value=text(name))
        found[f"tool {name!a} in escapes"] = changed("params", "name", value=json.dumps(name))
    for dropped in DROPPED:
        for name in (ALLOWED, FORBIDDEN):
            found[f"tool {name} with {dropped} behind"] = changed("params", "name", value=f'"{name}{dropped}"')
            found[f"tool {name} with {dropped} before"] = changed("params", "name", value=f'"{dropped}{name}"')
        found[f"tool ok_ and {dropped} and {FORBIDDEN}"] = changed("params", "name", value=f'"ok_{dropped}{FORBIDDEN}"')
        found[f"method with {dropped} behind"] = changed("message", "method", value=f'"tools/call{dropped}"')
        found[f"method with {dropped} before"] = changed("message", "method", value=f'"{dropped}tools/call"')
    for method in ("Tools/Call", "TOOLS/CALL", "tool\u017f/call", "tools//call", "tools/call/", "tools.call", "ｔools/call", "tools/list", "ping", "PING", "p\u0131ng"):
        found[f"method {method!a}"] = changed("message", "method", value=text(method))
    for method in ("tools\\/call", "tools\\u002fcall", "\\u0074ools/call"):
        found[f"method {method}"] = changed("message", "method", value=f'"{method}"')
    numbers = ["0", "-0", "1.0", "1E5", "1e400", "-1e-400", "9" * 40, "0." + "1" * 60, "9007199254740993", "01", "+1", ".5", "1.", "NaN", "Infinity", "-", "0x10", "1_0"]
    for number in numbers:
        found[f"argument {number[:20]}"] = changed("params", "arguments", value=f'{{"n":{number}}}')
        found[f"id {number[:20]}"] = changed("message", "id", value=number)
        found[f"name {number[:20]}"] = changed("params", "name", value=number)
    for value in ("null", "true", f'["{FORBIDDEN}"]', f'{{"name":"{FORBIDDEN}"}}', '"a\\q"', "'x'"):
        found[f"name {value}"] = changed("params", "name", value=value)
        found[f"arguments {value}"] = changed("params", "arguments", value=value)
        found[f"method {value}"] = changed("message", "method", value=value)
        found[f"id {value}"] = changed("message", "id", value=value)
    for depth in (1, 10, 61, 62, 63, 64, 65, 200, 2000):
        inner = f'{{"name":"{FORBIDDEN}","method":"tools/call"}}'
        found[f"objects {depth} deep"] = changed("params", "arguments", value='{"params":' * depth + inner + "}" * depth)
        found[f"arrays {depth} deep"] = changed("params", "arguments", value='{"a":' + "[" * depth + inner + "]" * depth + "}")
    call = as_object([("jsonrpc", '"2.0"'), ("id", "8"), ("method", '"tools/call"'), ("params", other_params)]).encode()
    for behind in (b"\n", b" \t\r\n", b"\0", b",", b"}", b"x", b"//x", b"/**/", b"\x1e", b"\xef\xbb\xbf", b"\0" + call, b"\n" + call, call):
        found[f"behind: {behind[:6]!r}"] = put(behind=behind)
    for before in (b" \n\t", b"\xef\xbb\xbf", b"\xfe\xff", b"\x1e", b"\0", b"/**/", b")]}',\n", call, call + b"\n", b"["):
        found[f"before: {before[:6]!r}"] = put(before=before)
    for coding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"):
        found[f"coding {coding}"] = put(coding=coding)
    found["batch"] = put(before=b"[", behind=b"]")
    found["batch of two"] = put(before=b"[" + call + b",", behind=b"]")
    found["in a text"] = put(raw=lambda text: json.dumps(text.decode()).encode())
    for what, old, new in [
        ("not UTF-8 in a key", b'"arguments"', b'"name\xff":"hidden","arguments"'),
        ("overlong letter in a key", b'"arguments"', b'"n\xc1\xa1me":"hidden","arguments"'),
        ("surrogate in a key", b'"arguments"', b'"name\xed\xa0\x80":"hidden","arguments"'),
        ("not UTF-8 in the tool", b"ok_a", b"ok_\xff"),
        ("zero byte in a key", b'"arguments"', b'"name\0":"hidden","arguments"'),
        ("line feed in the tool", b"ok_a", b"ok_a\n"),
        ("single quotes", b'"arguments"', b"'name':'hidden','arguments'"),
        ("bare key", b'"arguments"', b'name:"hidden","arguments"'),
        ("trailing comma", b"{}}", b"{},}"),
        ("two commas", b',"arguments"', b',,"arguments"'),
        ("comment", b'"arguments"', b'/*"*/"name":"hidden"/*"*/,"arguments"'),
        ("comment to the end of the line", b'"arguments"', b'//"\n"name":"hidden",//"\n"arguments"'),
        ("escape of an apostrophe", b"ok_a", b"ok_\\'a"),
        ("escape in hexadecimal", b"ok_a", b"ok_\\x61"),
        ("short escape", b"ok_a", b"ok_\\u61"),
        ("white space within", b":", b" :\r\n\t "),
        ("form feed within", b":", b":\x0c"),
        ("no-break space within", b":", b":\xc2\xa0"),
    ]:
        found[what] = replaced(old, new)
    return found


#: The beginnings of those that change nothing for any decoder: they must pass.
HARMLESS = (
    "nothing", "params first", "escaped key", "tool 'ok_", "method tools\\", "method 'ping'", "method 'tools/list'", "white space within",
    "arguments ", "argument 0", "argument -0", "argument 1.0", "argument 1e400", "argument 9", "id 1.0", "id 1E5", "id 9", "objects 1 ", "objects 10", "arrays 10",
    "behind: b'\\n'", "before: b' \\n\\t'",
)  # fmt: skip


def is_harmless(what: str) -> bool:
    return what.startswith(HARMLESS) and what not in ("arguments 'x'", 'arguments "a\\q"', "argument 01", "argument 0x10")


def table(seed: int, pairs: int) -> list[Case]:
    """Each oddity by itself, then pairs of them: of any, and of harmless ones."""
    dice, every = random.Random(seed), bends()
    harmless = [name for name in every if is_harmless(name)]
    chosen = [[name] for name in every]
    chosen += [dice.sample(names, 2) for names in (list(every), harmless) for _ in range(pairs)]
    cases = []
    for names in chosen:
        body = Body()
        for name in names:
            every[name](body)
        cases.append(Case(" + ".join(names), body.bytes()))
    return cases
