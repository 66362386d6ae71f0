"""The sections of docs/reliability.md that programs of benchmarks/ write."""

import argparse
from collections.abc import Callable, Iterable

import torch

from benchmarks.tables import ROOT

PAGE = ROOT / "docs" / "reliability.md"
HEADER = "| what was tried | how many times | what happened |\n|---|---|---|\n"


def table_of(rows: Iterable[tuple[str, int, str]]) -> str:
    """Rows of what was tried, how many times and what happened, in Markdown."""
    return HEADER + "".join(f"| {what} | {count:,} | {happened} |\n" for what, count, happened in rows)


def split_page(name: str, program: str) -> tuple[str, str, str]:
    """The page up to a section's first mark, the section, and the page from the section's last mark on."""
    begin, end = f"<!-- {name}, by benchmarks/{program} -->\n", f"<!-- end of {name} -->"
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    text, after = rest.split(end)
    return before + begin, text.strip(), end + after


def write_section(name: str, program: str, text: str):
    """Writes what a program printed between the marks of its section."""
    before, _, after = split_page(name, program)
    PAGE.write_text(f"{before}\n{text.strip()}\n\n{after}", encoding="utf-8")


def run_command(description: str, name: str, program: str, make_rows: Callable[[], Iterable[tuple[str, int, str]]]):
    """A program's command: prints the table of its rows, and with --docs writes it into its section."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--docs", action="store_true", help="write the table into docs/reliability.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = table_of(make_rows())
    print(text)
    if options.docs:
        write_section(name, program, text)
