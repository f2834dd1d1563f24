"""Text from the server as a terminal can show it: what would control the terminal is written out."""

from __future__ import annotations

from safe_clear_plugin.core.hidden_text import is_hidden


def literal(value: object) -> str:
    r"""Return the value as one line. Invisible characters become escapes such as ``\x1b``."""
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(char) if is_hidden(char) else char for char in text)


def literal_lines(value: object) -> list[str]:
    """Return the lines of a text that people write, each as :func:`literal` does."""
    return [literal(line) for line in str(value).splitlines()]


def _escaped(char: str) -> str:
    number = ord(char)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
