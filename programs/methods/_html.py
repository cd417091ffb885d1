"""HTML of saved pages as Markdown. Text without tags of pages is left as it is, and so is what was converted before."""

from __future__ import annotations

import re
from html.parser import HTMLParser

__all__ = ["is_html", "markdown"]

_NAMES = "p|div|span|br|hr|ul|ol|li|pre|code|strong|em|h[1-6]|blockquote|table|thead|tbody|tr|td|th"
_GIVEN = r"""\s+[\w:-]+=(?:"[^"]*"|'[^']*'|[^\s"'<>]+)"""
# `a<b>c` may be code: tags of one letter count where they have attributes or are closed
_TAG = re.compile(
    rf"<(?:{_NAMES})(?:{_GIVEN})*\s*/?>|<(?:a|b|i)(?:{_GIVEN})+\s*>|</(?:{_NAMES}|a|b|i)\s*>", re.IGNORECASE
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*"}
_BLOCKS = {"p", "div", "ul", "ol", "table", "blockquote", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "hr"}
# what the web page of a chat leaves in its text
_COPY = re.compile(r"\ACopy code\s*|Copy\d+ chars / \d+ words", re.IGNORECASE)
_PAGER = re.compile(r"\A\s*\d+ / \d+\s*")


def is_html(text: str) -> bool:
    """Whether tags of a page stand in the text, outside of Markdown's code."""
    return _TAG.search(_CODE.sub("", text)) is not None


def markdown(text: str) -> str:
    """The text as Markdown: code in fences, lists, links, tables; what a chat's page adds (`1 / 2`, `Copy code`) is gone."""
    if is_html(text):
        reader = _Reader()
        reader.feed(text)
        reader.close()
        text = reader.text()
    return _COPY.sub("", _PAGER.sub("", text)).strip()


class _Reader(HTMLParser):
    """Writes Markdown while it reads."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._lists: list[int | None] = []
        self._links: list[str] = []
        self._pre: list[str] | None = None
        self._language = ""
        self._cells = self._code = 0

    def text(self) -> str:
        """What was written."""
        joined = re.sub(r"[ \t]+\n", "\n", "".join(self._out))
        return re.sub(r"\n{3,}", "\n\n", joined).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if self._pre is not None:
            found = re.search(r"language-([\w+#-]+)", given.get("class", ""))
            self._language = self._language or (found[1] if found else "")
            self._pre.append("\n" if tag == "br" else "")
        elif tag == "pre":
            self._pre, self._language = [], ""
        elif tag == "br":
            self._out.append("\n")
        elif tag == "li":
            number = self._lists[-1] if self._lists else None
            mark = "-" if number is None else f"{number}."
            if self._lists and number is not None:
                self._lists[-1] = number + 1
            self._out.append(f"\n{'   ' * max(0, len(self._lists) - 1)}{mark} ")
        elif tag in ("ul", "ol"):
            self._out.append("\n" if self._lists else "\n\n")
            start = given.get("start", "1")
            self._lists.append(None if tag == "ul" else int(start) if start.isdigit() else 1)
        elif tag in ("td", "th"):
            self._out.append("| ")
            self._cells += 1
        elif tag == "tr":
            self._out.append("\n")
            self._cells = 0
        elif tag == "a":
            self._links.append(given.get("href", ""))
            self._out.append("[")
        elif tag in _BLOCKS:
            # a paragraph within a point of a list stands beside its mark
            inside = bool(self._lists) and bool(re.search(r"(?:-|\d+\.) \Z", "".join(self._out[-1:])))
            self._out.append("" if inside else "\n\n")
            self._out.append(f"{'#' * int(tag[1])} " if re.fullmatch(r"h[1-6]", tag) else "")
            self._out.append("---\n\n" if tag == "hr" else "> " if tag == "blockquote" else "")
        else:
            self._code += tag == "code"
            self._out.append("`" if tag == "code" else _MARKS.get(tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if self._pre is not None:
            if tag == "pre":
                self._fence("".join(self._pre))
        elif tag in ("ul", "ol") and self._lists:
            self._lists.pop()
            self._out.append("\n" if self._lists else "\n\n")
        elif tag == "a" and self._links:
            href = self._links.pop()
            self._out.append(f"]({href})" if href else "]")
        elif tag in ("td", "th"):
            self._out.append(" ")
        elif tag == "tr":
            self._out.append("|")
        elif tag == "thead":
            self._out.append(f"\n{'| --- ' * self._cells}|")
        elif tag in _BLOCKS:
            self._out.append("\n\n")
        else:
            self._code -= tag == "code"
            self._out.append("`" if tag == "code" else _MARKS.get(tag, ""))

    def handle_data(self, data: str) -> None:
        if self._pre is not None:
            self._pre.append(data)
        elif data.strip() or (self._out and not self._out[-1].endswith("\n")):
            # what was written as text must not be read as a tag the next time
            bare = data if self._code > 0 else _TAG.sub(lambda found: found[0].replace("<", "&lt;"), data)
            self._out.append(re.sub(r"\s+", " ", bare))

    def _fence(self, code: str) -> None:
        """Code with its language, which the page of a chat puts before the words `Copy code`."""
        found = re.match(r"\s*([\w+#-]*)\s*Copy code", code)
        language = self._language or (found[1] if found else "")
        body = code[found.end() :] if found else code
        self._pre = None
        if body.strip():
            self._out.append(f"\n\n```{language}\n{body.strip(chr(10))}\n```\n\n")
