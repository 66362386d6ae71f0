"""Fixtures that several tests of music/ share."""

import pytest

from made_midi import write_trio


@pytest.fixture
def folder(tmp_path):
    """Twelve songs, one of them twice and one broken."""
    folder = tmp_path / "songs"
    for seed in range(10):
        write_trio(folder / f"{seed}.mid", seed)
    (folder / "twin of 3.mid").write_bytes((folder / "3.mid").read_bytes())
    (folder / "broken.mid").write_bytes(b"MThd, and no more")
    return folder
