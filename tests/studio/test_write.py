"""Pages as Python writes them: structure, notes, names, lengths, points of the space, and wrong calls."""

import base64
import io
import json
import re
from copy import deepcopy
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from pretty_midi import Instrument, Note, PrettyMIDI, TimeSignature

from generate import TrainedModel
from helpers import made_songs, shrink, untrained
from midi_utils import load_midi
from model import MusicVAE
from music.grid import bar_lines
from music.labels import DRUM_PITCHES
from studio.write import (
    blend,
    blend_grid,
    first_window,
    plane_grid,
    script_json,
    write_blind,
    write_gallery,
    write_space,
)

ROOT = Path(__file__).parents[2]
COMMITTED = [ROOT / "docs" / f"{name}.html" for name in ("gallery", "space", "blind")]
WRITE_ANEW = "python generate.py page --model mel_2bar_low --corpus FOLDER --out docs"
MAX_BYTES = 300_000  # of a committed page
NASTY = "</script><b>\"&'\u2028 ü 🎵<!--"


class Elements(HTMLParser):
    """The elements of a page, and the text of each script and of the title and headings."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.texts, self.inside = [], [], {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        self.texts[self.inside] = self.texts.get(self.inside, "") + data


def elements(path):
    return Elements(Path(path).read_text(encoding="utf-8"))


def data(path):
    """What a page's scripts read."""
    return json.loads(elements(path).scripts[0])


def song(*notes, qpm=120.0, drums=False, name=""):
    """A song of one track; notes are (start, end, pitch, velocity), in seconds."""
    midi = PrettyMIDI(initial_tempo=qpm)
    midi.instruments.append(Instrument(33, drums, name))
    midi.instruments[0].notes = [Note(velocity, pitch, start, end) for start, end, pitch, velocity in notes]
    return midi


SCALE = song((0, 0.5, 60, 80), (0.5, 1.0, 62, 81), (2.0, 2.1234, 64, 127), name="lead")


@pytest.fixture(scope="module")
def trained():
    """A melody model of random weights."""
    torch.manual_seed(0)
    config = shrink("cat-mel_2bar_tiny")
    return TrainedModel(MusicVAE(config.model), config)


@pytest.fixture(scope="module")
def songs(trained):
    return made_songs(trained.converter)


@pytest.fixture
def clips(trained, songs):
    return [trained.converter.from_arrays(songs.labels[k]) for k in range(4)]


def write_all(folder, trained):
    """One page of each kind."""
    write_gallery(folder / "gallery.html", [SCALE, SCALE])
    write_space(folder / "space.html", trained, grid=3, plane=3)
    write_blind(folder / "blind.html", [SCALE], [SCALE])
    return [folder / f"{name}.html" for name in ("gallery", "space", "blind")]


# ---- Structure ----


def assert_self_contained(path):
    found = elements(path)
    addresses = [value for _, attributes in found.tags for key, value in attributes.items() if key in ("src", "href")]
    assert addresses == ["data:,"]  # no icon
    assert "default-src 'none'" in found.tags[4][1]["content"]
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", path.read_text(encoding="utf-8"))


def test_pages_load_nothing_and_name_their_language_and_width(tmp_path, trained):
    for path in write_all(tmp_path, trained):
        assert_self_contained(path)
        tags = dict(elements(path).tags)
        assert tags["html"] == {"lang": "en"}
        assert "width=device-width" in path.read_text(encoding="utf-8")


def test_no_slot_of_the_page_stays_open(tmp_path, trained):
    for path in write_all(tmp_path, trained):
        assert not re.search(r"{{\w+}}", path.read_text(encoding="utf-8"))


def test_text_that_looks_like_a_slot_stays_as_it_is(tmp_path):
    write_gallery(tmp_path / "page.html", [SCALE], ["{{data}}"], title="{{style}}")
    found = elements(tmp_path / "page.html")
    assert found.texts["title"] == found.texts["h1"] == "{{style}}"
    assert data(tmp_path / "page.html")["pieces"][0]["name"] == "{{data}}"


def test_names_cannot_break_the_page(tmp_path, trained):
    path = tmp_path / "page.html"
    write_gallery(path, [song((0, 1, 60, 80), name=NASTY)], [NASTY], title=NASTY, lead=NASTY)
    found = elements(path)
    assert len(found.scripts) == 3
    assert found.texts["title"] == found.texts["h1"] == NASTY
    assert found.texts["p"].startswith(NASTY)
    assert "b" not in [tag for tag, _ in found.tags]
    piece = data(path)["pieces"][0]
    assert piece["name"] == piece["parts"][0]["name"] == NASTY


def test_json_in_a_script_reads_back():
    value = {"text": NASTY, "numbers": [1, 2.5]}
    assert json.loads(script_json(value)) == value
    assert not re.search("[<\u2028\u2029]", script_json(value))


# ---- Notes ----


def test_a_page_holds_the_notes_of_the_midi(tmp_path):
    write_gallery(tmp_path / "page.html", [SCALE])
    (part,) = data(tmp_path / "page.html")["pieces"][0]["parts"]
    notes = [[0, 500, 60, 80], [500, 500, 62, 81], [2000, 123, 64, 127]]
    assert part == {"name": "lead", "program": 33, "drums": False, "notes": notes}


def test_a_file_of_any_song_gives_its_notes(tmp_path):
    path = sorted((ROOT / "midi_songs" / "built_in").glob("*.mid"))[0]
    write_gallery(tmp_path / "page.html", [path])
    piece = data(tmp_path / "page.html")["pieces"][0]
    for part, own in zip(piece["parts"], load_midi(path).instruments, strict=True):
        rows = [(n.start, n.end - n.start, n.pitch, n.velocity) for n in own.notes]
        scaled = np.array(part["notes"]) / (1000, 1000, 1, 1)
        np.testing.assert_allclose(scaled, rows, atol=0.0011)  # two times, each rounded to a millisecond


def test_the_file_to_download_is_the_midi(tmp_path):
    write_gallery(tmp_path / "page.html", [SCALE])
    content = base64.b64decode(data(tmp_path / "page.html")["pieces"][0]["midi"])
    read = PrettyMIDI(io.BytesIO(content))
    assert [(n.pitch, n.velocity) for n in read.instruments[0].notes] == [(60, 80), (62, 81), (64, 127)]
    buffer = io.BytesIO()
    SCALE.write(buffer)
    assert content == buffer.getvalue()


def test_a_piece_lasts_up_to_the_bar_of_its_last_note_or_as_long_as_is_said(tmp_path):
    write_gallery(tmp_path / "own.html", [SCALE, song()])
    write_gallery(tmp_path / "said.html", [SCALE], bars=4)
    own, silent = data(tmp_path / "own.html")["pieces"]
    assert (own["ms"], own["bars"]) == (4000, [0, 2000])
    assert (silent["ms"], silent["bars"]) == (2000, [0])
    (said,) = data(tmp_path / "said.html")["pieces"]
    assert (said["ms"], said["bars"]) == (8000, [0, 2000, 4000, 6000])


def test_a_note_up_to_the_bar_line_needs_no_further_bar():
    assert bar_lines(song((0, 2.0, 60, 80))).tolist() == [0, 2]


def test_bars_follow_the_metre_and_the_tempo():
    waltz = song((0, 4.9, 60, 80), qpm=60)
    waltz.time_signature_changes.append(TimeSignature(3, 4, 0))
    assert bar_lines(waltz).tolist() == [0, 3, 6]
    waltz.instruments[0].notes[0].end = 3.0
    assert bar_lines(waltz).tolist() == [0, 3]


def test_pieces_have_titles_in_order(tmp_path):
    write_gallery(tmp_path / "page.html", [SCALE] * 2)
    assert [piece["name"] for piece in data(tmp_path / "page.html")["pieces"]] == ["Piece 1", "Piece 2"]


def test_a_gallery_names_the_nearest_song_of_each_piece(tmp_path, trained, songs):
    midis = [trained.converter.from_arrays(songs.labels[k]) for k in (0, 5)]
    write_gallery(tmp_path / "page.html", midis, songs=songs, compared="six songs")
    found = data(tmp_path / "page.html")
    assert [piece["nearest"]["distance"] for piece in found["pieces"]] == [0, 0]
    assert found["pieces"][0]["nearest"]["name"] in songs.names
    assert found["compared"] == "six songs"


def test_a_gallery_without_songs_names_none(tmp_path):
    write_gallery(tmp_path / "page.html", [SCALE])
    found = data(tmp_path / "page.html")
    assert (found["pieces"][0]["nearest"], found["compared"]) == (None, None)


def test_a_blind_page_says_what_is_real_and_offers_no_file(tmp_path):
    write_blind(tmp_path / "page.html", [SCALE, SCALE], [song((0, 1, 50, 80))], ["Song A", "Song B"])
    pieces = data(tmp_path / "page.html")["pieces"]
    assert [(piece["real"], piece["source"]) for piece in pieces] == [(True, "Song A"), (True, "Song B"), (False, "")]
    assert all("midi" not in piece and piece["name"] == "" for piece in pieces)


# ---- The space ----


def notes_of(midi):
    return [(n.pitch, n.velocity, round(1000 * n.start)) for part in midi.instruments for n in part.notes]


def test_a_space_has_the_four_clips_in_its_corners(tmp_path, trained, clips):
    write_space(tmp_path / "page.html", trained, clips, names=list("abcd"), grid=3, plane=2)
    found = data(tmp_path / "page.html")
    assert found["corners"] == list("abcd")
    decoded = trained.decode(trained.encode(clips).mu, temperature=0, seed=0)
    corners = [found["grid"][row][column] for row in (0, -1) for column in (0, -1)]
    for k, midi in zip(corners, decoded, strict=True):
        notes = [(p, v, start) for part in found["loops"][k]["parts"] for start, _, p, v in part["notes"]]
        assert notes == notes_of(midi)


def test_a_space_has_square_tables_of_loops_of_one_length(tmp_path, trained):
    write_space(tmp_path / "page.html", trained, grid=3, plane=4, qpm=60)
    found = data(tmp_path / "page.html")
    assert [len(row) for row in found["grid"]] == [3] * 3
    assert [len(row) for row in found["plane"]] == [4] * 4
    used = {k for table in (found["grid"], found["plane"]) for row in table for k in row}
    assert used == set(range(len(found["loops"])))
    assert {loop["ms"] for loop in found["loops"]} == {8000}
    assert len({json.dumps(loop) for loop in found["loops"]}) == len(found["loops"])


def test_a_space_of_one_seed_is_one_file(tmp_path, trained):
    for name in ("a", "b"):
        write_space(tmp_path / name, trained, grid=2, plane=2, temperature=1.0, seed=3)
    write_space(tmp_path / "c", trained, grid=2, plane=2, temperature=1.0, seed=4)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_blend_of_one_vector_is_that_vector_and_of_several_is_as_long_as_they_are():
    corners = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    grid = blend_grid(corners, 5).reshape(5, 5, 64)
    torch.testing.assert_close(grid[[0, 0, -1, -1], [0, -1, 0, -1]], corners)
    lengths = corners.norm(dim=1)
    torch.testing.assert_close(grid[2, 2].norm(), lengths.mean())
    torch.testing.assert_close(grid[0, 2].norm(), lengths[:2].mean())


def test_opposite_vectors_blend_to_finite_ones():
    vectors = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert blend(vectors, torch.tensor([[0.5, 0.5]])).tolist() == [[0, 0]]


def test_a_plane_has_the_first_draw_in_its_middle_and_keeps_the_distance_from_the_mean():
    draws = 3 + torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    plane = plane_grid(draws, 5).reshape(5, 5, 32)
    torch.testing.assert_close(plane[2, 2], draws[0])
    lengths = (draws[:3] - draws.mean(0)).norm(dim=1)
    torch.testing.assert_close((plane[2, 4] - draws.mean(0)).norm(), lengths[:2].mean())
    torch.testing.assert_close((plane[0, 0] - draws.mean(0)).norm(), lengths.mean())


# ---- Wrong calls ----


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda at: write_gallery(at, []), "midis must be at least one song, got none"),
        (lambda at: write_gallery(at, SCALE), "midis must be a list of PrettyMIDI or paths of MIDI files"),
        (lambda at: write_gallery(at, 3), "midis must be a list of PrettyMIDI or paths of MIDI files"),
        (lambda at: write_gallery(at, ["no.mid"]), "no.mid"),
        (lambda at: write_gallery(at, [SCALE], ["a", "b"]), "give one title per piece: got .* for 1"),
        (lambda at: write_gallery(at, [SCALE], "a"), "give one title per piece"),
        (lambda at: write_gallery(at, [SCALE], [3]), "give one title per piece"),
        (lambda at: write_gallery(at, [SCALE], bars=0), "bars must be a whole number of at least 1"),
        (lambda at: write_gallery(at, [SCALE], songs=[]), "songs must be a SongDataset"),
        (lambda at: write_gallery("", [SCALE]), "path must be a path"),
        (lambda at: write_blind(at, [], [SCALE]), "real must be at least one song"),
        (lambda at: write_blind(at, [SCALE], []), "sampled must be at least one song"),
        (lambda at: write_blind(at, [SCALE], [SCALE], ["a", "b"]), "give one title per piece"),
        (lambda at: write_space(at, None), "trained must be a TrainedModel, as TrainedModel.load reads it, got None"),
        (lambda at: write_space(at, "mel_2bar.pt"), "trained must be a TrainedModel"),
    ],
)
def test_wrong_calls_are_named(tmp_path, call, words):
    with pytest.raises(ValueError, match=words):
        call(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("wrong", [{"grid": 1}, {"plane": 1}, {"grid": 2.5}, {"names": ["a"]}, {"temperature": -1}])
def test_wrong_sizes_of_a_space_are_named(tmp_path, trained, wrong):
    with pytest.raises(ValueError, match="must be|give one title"):
        write_space(tmp_path / "page.html", trained, **({"grid": 2, "plane": 2} | wrong))


def test_corners_that_are_not_four_pieces_for_the_model_are_named(tmp_path, trained, clips):
    with pytest.raises(ValueError, match="clips must be four pieces, one per corner, got 3"):
        write_space(tmp_path / "page.html", trained, clips[:3])
    beat = song((0, 0.1, 36, 80), drums=True)
    with pytest.raises(ValueError, match="clip 4 of 4: no track with a program in 0-31; it has drums"):
        write_space(tmp_path / "page.html", trained, [*clips[:3], beat])


def test_a_corner_begins_with_the_first_note_of_its_only_track(trained, clips):
    late, own = deepcopy(clips[0]), first_window(trained, clips[0])
    late.instruments[0].program = 73
    for note in late.instruments[0].notes:  # three bars later
        note.start, note.end = note.start + 6, note.end + 6
    window = first_window(trained, late)
    np.testing.assert_array_equal(window.labels, own.labels)
    assert (window.start_bar, own.start_bar) == (3, 0)
    with pytest.raises(ValueError, match="no notes in 4/4: give another piece$"):
        first_window(trained, PrettyMIDI())


def test_the_corners_of_a_multitrack_model_are_its_windows(tmp_path):
    tracks = untrained("hier-multiperf_vel_1bar_med")
    bars = [tracks.sample(1, temperature=0.5, seed=k)[0] for k in range(40)]
    whole = [bar for bar in bars if len(tracks.converter.to_arrays(bar).labels) == 1][:4]
    write_space(tmp_path / "page.html", tracks, whole, grid=2, plane=2)
    assert data(tmp_path / "page.html")["grid"]


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/page.html cannot be written \(.+\): name a folder that you may write"):
        write_gallery(tmp_path / "file" / "page.html", [SCALE])


# ---- Files of this repository ----


def test_the_player_knows_the_drums_of_the_labels():
    player = (ROOT / "studio" / "player.js").read_text(encoding="utf-8")
    table = player.split("const DRUMS = [")[1].split("];")[0]
    rows = re.findall(r'\["[a-z ]+", \[([\d, ]+)\]\]', table)
    assert tuple(tuple(map(int, row.split(", "))) for row in rows) == DRUM_PITCHES


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_a_committed_page_is_small_and_self_contained(path):
    assert path.stat().st_size < MAX_BYTES
    assert_self_contained(path)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_a_committed_page_holds_the_present_style_and_scripts(path):
    page = path.read_text(encoding="utf-8")
    for name in ("style.css", "player.js", f"{path.stem}.js"):
        copied = (ROOT / "studio" / name).read_text(encoding="utf-8").strip()
        assert copied in page, f"{path.name} holds another {name} than studio/: write it anew with {WRITE_ANEW}"


def test_the_page_of_magenta_js_names_files_that_exist():
    page = ROOT / "docs" / "magenta_js.html"
    attributes = [value for _, found in elements(page).tags for value in found.values() if value]
    local = [value.partition("#")[0] for value in attributes if value.startswith("../") or ".md" in value]
    assert len(local) >= 5
    assert [name for name in local if not (page.parent / name).exists()] == []
