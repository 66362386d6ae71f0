"""The sections of docs/reliability.md."""

from benchmarks import sections


def test_a_section_is_written_between_its_marks_and_nothing_else_changes(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- some, by benchmarks/some.py -->\n<!-- end of some -->\nafter\n")
    monkeypatch.setattr(sections, "PAGE", page)
    for text in ("first\n", "second"):
        sections.write_section("some", "some.py", text)
        assert sections.split_page("some", "some.py")[1] == text.strip()
    assert page.read_text() == (
        "before\n<!-- some, by benchmarks/some.py -->\n\nsecond\n\n<!-- end of some -->\nafter\n"
    )
