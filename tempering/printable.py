"""Foreign text that a person will read on a terminal: nothing in it may be obeyed there.

Control characters, escape sequences and letters that turn the direction of writing are shown as
pictures or codes and never sent as they are.
"""

import unicodedata


def visible(text: str, *, lines: bool = False) -> str:
    """`text` without anything that a terminal would obey; `lines`: line ends stay."""
    return "".join(char if _harmless(char, lines) else _picture(char) for char in text)


def shown_name(name: str, most: int = 60) -> str:
    """A column or a file as a message names it: visible, and cut where it is long."""
    return visible(name if len(name) <= most else f"{name[:most]}…")


def _harmless(char: str, lines: bool) -> bool:
    if char == "\n":
        return lines
    # Cc: control, Cf: formats such as changes of direction, Cs: lone surrogates, Zl and Zp: line ends.
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _picture(char: str) -> str:
    if char == "\t":
        return "⇥"
    if char == "\n":
        return "⏎"
    if ord(char) < 0x20:
        return chr(0x2400 + ord(char))
    if char in "\u200c\u200d":  # joiners, without which words and emoji fall apart
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
