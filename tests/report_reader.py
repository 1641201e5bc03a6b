"""Reads a report's page as a program sees it: its tables, its text, its data."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path


@dataclass
class ReadTable:
    caption: str = ""
    header: list[str] = field(default_factory=list)
    rows: dict[str, list[str]] = field(default_factory=dict)  # by heading; the last one wins
    all_rows: list[list[str]] = field(default_factory=list)  # with the heading
    scopes: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tables, self.tags, self.text = {}, [], []
        self._table, self._row, self._cell, self._data = None, None, None, []
        self._in_data = False

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "table":
            self._table = self.tables[attributes["id"].removeprefix("table-")] = ReadTable()
        elif tag == "tr":
            self._row = []
        elif tag in ("th", "td", "caption") and self._table is not None:
            self._cell = []
            if tag == "th":
                self._table.scopes.add(attributes["scope"])
        elif tag == "script":
            self._in_data = True

    def handle_endtag(self, tag):
        if tag == "script":
            self._in_data = False
        if self._table is None:
            return
        if tag == "caption":
            self._table.caption = "".join(self._cell)
        elif tag in ("th", "td"):
            self._row.append("".join(self._cell))
        elif tag == "tr" and not self._table.header:
            self._table.header = self._row
        elif tag == "tr":
            self._table.rows[self._row[0]] = self._row[1:]
            self._table.all_rows.append(self._row)
        elif tag == "table":
            self._table = None
        if tag in ("th", "td", "caption"):
            self._cell = None

    def handle_data(self, data):
        if self._in_data:
            self._data.append(data)
            return
        self.text.append(data)
        if self._cell is not None:
            self._cell.append(data)

    @property
    def data(self):
        return json.loads("".join(self._data))


@dataclass
class ReadPage:
    source: str
    tables: dict[str, ReadTable]
    tags: list[tuple[str, dict[str, str | None]]]
    text: str  # what a person reads, spaces folded
    data: dict

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [attributes[name] for t, attributes in self.tags if t == tag and name in attributes]


def read_page(path: Path) -> ReadPage:
    source = path.read_text(encoding="utf-8")
    reader = _Reader()
    reader.feed(source)
    text = " ".join("".join(reader.text).split()).replace("‑", "-")
    return ReadPage(source, reader.tables, reader.tags, text, reader.data)


def as_number(text: str) -> float:
    return float(text.replace(",", "").removesuffix(" %"))


def printed_equals(text: str, value: float) -> bool:
    """Whether a printed number is the value, rounded to the digits it is printed with."""
    digits = text.replace(",", "").removesuffix(" %")
    mantissa, _, exponent = digits.partition("e")
    decimals = len(mantissa.partition(".")[2])
    unit = 10.0 ** (int(exponent or 0) - decimals)
    return abs(float(digits) - value) <= 0.5000001 * unit
