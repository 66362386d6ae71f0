"""The sections of docs/reliability.md that programs of benchmarks/ write."""

from collections.abc import Iterable

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
