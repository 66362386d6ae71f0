"""Makes the tables and the figure of docs/speed.md from the results in benchmarks/results."""

import re

from benchmarks.folders import folders_text, load_folders
from benchmarks.growth import load_growth, turns_text, write_picture
from benchmarks.handmade import handmade_text, load_handmade
from benchmarks.tables import ROOT, load_results, machine_text, speed_text, start_text

PAGE = ROOT / "docs" / "speed.md"
TABLE = re.compile(r"(<!-- table: (\S+) (\S+) -->\n).*?(<!-- end -->)", re.S)  # name of the results, kind of table
KINDS = {"machine": machine_text, "speed": speed_text, "start": start_text}
OTHERS = {  # kinds of results of their own form
    "folders": lambda: folders_text(load_folders()),
    "growth": lambda: turns_text(load_growth()),
    "handmade": lambda: handmade_text(load_handmade()),
}


def make_table(name: str, kind: str) -> str:
    """A table of a kind, from the results of a name."""
    return OTHERS[kind]() if kind in OTHERS else KINDS[kind](load_results(name))


def with_tables(text: str) -> str:
    """A document with each of its tables made anew, between `<!-- table: NAME KIND -->` and `<!-- end -->`."""
    return TABLE.sub(lambda found: f"{found[1]}\n{make_table(found[2], found[3])}\n\n{found[4]}", text)


def write_page():
    """Makes the tables and the figure of docs/speed.md anew."""
    write_picture(load_growth())
    PAGE.write_text(with_tables(PAGE.read_text()))
