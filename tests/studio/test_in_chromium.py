"""The pages in headless Chromium: they open, play, answer to mouse, keys and touch, and fit a narrow window."""

import functools
import http.server
import io
import shutil
import subprocess
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from pretty_midi import Instrument, Note, PrettyMIDI

from chromium import DESKTOP, PHONE, chromium_page
from generate import TrainedModel
from midi_utils import BUILT_IN, midi_files
from studio.write import write_blind, write_gallery, write_space

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SONGS = ROOT / "midi_songs" / BUILT_IN
MAGENTA_JS = "https://cdn.jsdelivr.net/npm/@magenta/music@1.23.1/dist/magentamusic.js"
LOCAL = ("file:", "data:", "blob:", "about:", "http://127.0.0.1")  # addresses that need no network
NAMES = ("gallery", "space", "blind")
PLAYING = "player.piece && player.state == 'running' && player.position > 100"
LOUD = """(async () => {
    const context = new OfflineAudioContext(1, 44100, 44100), part = pageData().%s;
    for (const note of part.notes.slice(0, 8)) sound(context, context.destination, part, note, note[0] / 1000);
    const samples = (await context.startRendering()).getChannelData(0);
    return Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
})()"""  # root mean square of the first second of a part


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with chromium_page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(autouse=True)
def no_complaint(page):
    """No test's page may complain in the console, or ask for anything but itself."""
    page.errors.clear()
    page.requests.clear()
    yield
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith(LOCAL)] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The three pages: built-in songs, and the space of a pretrained model."""
    folder, songs = tmp_path_factory.mktemp("pages"), sorted(midi_files(SONGS))
    write_gallery(folder / "gallery.html", songs[:4], [song.stem for song in songs[:4]])
    write_blind(folder / "blind.html", songs[:2], songs[2:4], ["one", "two"], bars=4)
    trained = TrainedModel.load(ROOT / "pretrained" / "drums_2bar_low.pt")
    write_space(folder / "space.html", trained, grid=3, plane=5)
    return folder


def text(page, selector):
    return page.run(f"document.querySelector('{selector}').textContent")


# ---- All pages ----


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dark", [False, True])
def test_a_page_fits_a_narrow_window_and_its_colours_have_contrast(page, folder, name, dark):
    page.open(folder / f"{name}.html", PHONE, dark, touch=True)
    assert page.run("document.documentElement.scrollWidth") == PHONE[0]
    assert (
        page.run("Math.max(...[...document.querySelectorAll('main *')].map(e => e.getBoundingClientRect().right))")
        <= 400
    )
    luminance = """(name) => { const rgb = getComputedStyle(document.body)[name].match(/[\\d.]+/g).map(c => c / 255)
        .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]; }"""
    ink, paper = (page.run(f"({luminance})('{what}')") for what in ("color", "backgroundColor"))
    assert (ink > paper) == dark
    assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) > 7  # WCAG's enhanced contrast


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_pages_open_without_a_complaint(page, name):
    page.open(ROOT / "docs" / f"{name}.html")
    assert page.run("document.querySelectorAll('button.play').length") >= 1


# ---- The gallery ----


def test_a_click_plays_a_piece_and_moves_its_playhead(page, folder):
    page.open(folder / "gallery.html")
    assert page.run("player.state") == "closed"  # no sound before a click
    page.click(".card:nth-of-type(2) button.play")
    page.wait(PLAYING)
    head = "parseFloat(document.querySelector('.playing .head').style.left)"
    time, place = page.run(f"[player.time, {head}]")
    page.wait(f"player.time > {time} + 0.2 && {head} > {place}")
    assert page.run("player.piece.name") == text(page, ".card:nth-of-type(2) h2")
    page.click(".card:nth-of-type(2) button.play")
    page.wait("!player.piece && !document.querySelector('.playing')")


def test_one_piece_plays_at_a_time(page, folder):
    page.open(folder / "gallery.html")
    for k in (1, 3):
        page.click(f".card:nth-of-type({k}) button.play")
        page.wait(PLAYING)
    assert page.run("document.querySelectorAll('.playing').length") == 1
    labels = page.run(
        "[...document.querySelectorAll('button.play')].map(b => b.getAttribute('aria-label').split(' ')[0])"
    )
    assert labels == ["Play", "Play", "Stop", "Play"]


def test_a_click_on_a_roll_plays_from_there(page, folder):
    page.open(folder / "gallery.html")
    page.click(".card .time", 0.5)
    page.wait("player.piece && player.position >= 0.499 * player.piece.ms && player.position < 0.6 * player.piece.ms")


def test_keys_play_and_stop(page, folder):
    page.open(folder / "gallery.html")
    page.press("3")
    page.wait(PLAYING)
    assert page.run("player.piece.name") == text(page, ".card:nth-of-type(3) h2")
    page.press("Escape")
    page.wait("!player.piece")
    page.run("document.querySelector('button.play').focus()")
    page.press(" ")
    page.wait(PLAYING)
    assert page.run("player.piece.name") == text(page, ".card h2")


def test_a_tap_plays(page, folder):
    page.open(folder / "gallery.html", PHONE, touch=True)
    page.touch("button.play", [(0.5, 0.5)])
    page.wait(PLAYING)


def short_song():
    """A bar of half a second with one note."""
    song = PrettyMIDI(initial_tempo=480)
    song.instruments.append(Instrument(0))
    song.instruments[0].notes = [Note(100, 60, 0, 0.4)]
    return song


def test_a_piece_repeats_or_ends(page, tmp_path):
    write_gallery(tmp_path / "short.html", [short_song()])
    page.open(tmp_path / "short.html")
    page.click("button.play")
    page.wait("player.time > 1.4")
    assert page.run("player.piece !== null && player.position < 500")
    page.click("input[type=checkbox]")
    page.wait("!player.piece && !document.querySelector('.playing')")
    page.click("button.play")
    assert page.run("player.piece !== null")
    page.wait("!player.piece")


def test_the_link_gives_the_midi_file(page, folder):
    page.open(folder / "gallery.html")
    script = "[...new Uint8Array(await (await fetch(document.querySelector('a[download]').href)).arrayBuffer())]"
    page.call("Page.setBypassCSP", enabled=True)  # this test's fetch, not the page
    page.open(folder / "gallery.html")
    content = bytes(page.run(f"(async () => {script})()"))
    page.call("Page.setBypassCSP", enabled=False)
    page.requests.clear()
    assert PrettyMIDI(io.BytesIO(content)).instruments[0].notes
    assert page.run("document.querySelector('a[download]').download").endswith(".mid")


@pytest.mark.parametrize("name", ["gallery", "space"])
def test_the_sounds_are_no_silence(page, folder, name):
    """Rendered without a sound card: pitched notes and drums, neither silent nor clipped."""
    page.open(folder / f"{name}.html")
    part = (
        "pieces[0].parts[0]" if name == "gallery" else "loops.find((loop) => loop.parts[0].notes.length > 8).parts[0]"
    )
    assert 0.005 < page.run(LOUD % part) < 0.5


def test_every_drum_sounds(page, folder):
    page.open(folder / "space.html")
    loudness = page.run("""Promise.all(DRUMS.map(async ([, pitches]) => {
        const context = new OfflineAudioContext(1, 22050, 44100);
        sound(context, context.destination, { drums: true }, [0, 100, pitches[0], 100], 0);
        return Math.max(...(await context.startRendering()).getChannelData(0)); }))""")
    assert len(loudness) == 9
    assert min(loudness) > 0.02


# ---- The space ----


def test_a_drag_changes_the_loop_and_stays_in_time(page, folder):
    page.open(folder / "space.html")
    page.drag(".map", [(0.1, 0.1)])
    page.wait(PLAYING)
    first = page.run("[player.time, player.position, JSON.stringify(player.piece.parts)]")
    page.drag(".map", [(0.1, 0.1), (0.5, 0.5), (0.9, 0.9)])
    later = page.run("[player.time, player.position, JSON.stringify(player.piece.parts), player.piece.ms]")
    assert later[2] != first[2]
    passed = (1000 * (later[0] - first[0]) + first[1] - later[1]) % later[3]
    assert min(passed, later[3] - passed) < 1  # milliseconds: the beat goes on
    assert text(page, "h2[aria-live]") == "Plane, column 5, row 5"


def test_notes_stay_on_the_grid_and_sound_once_while_loops_change(page, folder):
    page.open(folder / "space.html")
    page.run(
        "heard = []; own = sound; sound = (...given) => { heard.push([given[4], given[3][2]]); own(...given); }; 0"
    )
    for k in range(9):
        page.drag(".map", [(0.1 + 0.1 * k, 0.5)])
    page.wait("heard.length > 40")
    heard = page.run("heard.map(([when, pitch]) => [1000 * (when - heard[0][0]), pitch])")
    sixteenths = [when / 125 for when, _ in heard]  # at 120 quarters per minute
    assert max(abs(place - round(place)) for place in sixteenths) < 0.01
    notes = [(round(place), pitch) for place, (_, pitch) in zip(sixteenths, heard, strict=True)]
    assert len(set(notes)) == len(notes)
    assert all(later >= earlier - 1 for earlier, later in pairwise(sixteenths))  # AHEAD is less than a sixteenth


def test_arrow_keys_move_the_point_and_the_space_bar_plays(page, folder):
    page.open(folder / "space.html")
    page.run("document.querySelector('.blend').focus()")
    page.press(" ")
    page.wait(PLAYING)
    assert text(page, "h2[aria-live]") == "Blend, column 2, row 2"
    for key in ("ArrowRight", "ArrowUp", "ArrowUp"):
        page.press(key)
    assert text(page, "h2[aria-live]") == "Blend, column 3, row 1"
    assert page.run("player.piece === loops[grid[0][2]]")
    page.press("Escape")
    page.wait("!player.piece")


def test_a_finger_moves_the_point(page, folder):
    page.open(folder / "space.html", PHONE, touch=True)
    page.touch(".blend", [(0.1, 0.1), (0.5, 0.5), (0.9, 0.9)])
    page.wait(PLAYING)
    assert text(page, "h2[aria-live]") == "Blend, column 3, row 3"


@pytest.fixture(scope="module")
def fast_space(tmp_path_factory):
    """A space whose loops last 1.6 seconds."""
    path = tmp_path_factory.mktemp("space") / "space.html"
    trained = TrainedModel.load(ROOT / "pretrained" / "drums_2bar_low.pt")
    write_space(path, trained, grid=3, plane=5, qpm=300)
    return path


def test_the_point_goes_along_a_path_one_field_per_repetition(page, fast_space):
    page.open(fast_space)
    assert text(page, "section:has(.blend) .bar button") == "Draw a path"
    page.click("section:has(.blend) .bar button")
    page.drag(".blend", [(0.1, 0.1), (0.5, 0.1), (0.5, 0.5)])
    page.wait(PLAYING)
    assert page.run("document.querySelector('.blend polyline').points.length") == 3
    assert text(page, "section:has(.blend) .bar button") == "Remove the path"
    page.run(
        "heard = []; own = sound; sound = (...given) => { heard.push(given[4]); own(...given); }; "
        "visited = []; "
        "new MutationObserver(() => visited.push([title.textContent, player.position, "
        "player.piece === chosen.loop])).observe(title, { childList: true }); 0"
    )
    page.wait("visited.length >= 4")
    visited = page.run("visited")
    fields = ["column 1, row 1", "column 2, row 1", "column 2, row 2", "column 1, row 1"]
    assert [name for name, _, _ in visited[:4]] == [f"Blend, {field}" for field in fields]
    assert all(same for _, _, same in visited)
    assert max(position for _, position, _ in visited) < 200  # milliseconds after the loop began again
    sixteenths = page.run("heard.map((when) => (when - heard[0]) / 0.05)")
    assert max(abs(place - round(place)) for place in sixteenths) < 0.01


def test_a_path_is_removed_by_its_button_or_by_a_move_in_the_other_field(page, fast_space):
    page.open(fast_space)
    fields = "[...document.querySelectorAll('polyline')].map((line) => line.points.length)"
    for away in (lambda: page.click("section:has(.blend) .bar button"), lambda: page.drag(".map", [(0.5, 0.5)])):
        page.click("section:has(.blend) .bar button")
        page.drag(".blend", [(0.1, 0.1), (0.5, 0.1)])
        assert page.run(fields) == [2, 0]
        page.click("section:has(.map) .bar button")  # begins a path there, and leaves the other one alone
        assert page.run(fields) == [2, 0]
        page.click("section:has(.map) .bar button")
        away()
        assert page.run(fields) == [0, 0]


def test_a_path_goes_on_after_a_stop(page, fast_space):
    page.open(fast_space)
    page.click("section:has(.blend) .bar button")
    page.drag(".blend", [(0.1, 0.1), (0.9, 0.1)])
    page.wait(PLAYING)
    page.press("Escape")
    page.click("article button.play")
    for column in (1, 3, 1):
        page.wait(f"title.textContent == 'Blend, column {column}, row 1'")


def test_a_move_by_hand_leaves_the_path(page, fast_space):
    page.open(fast_space)
    page.click("section:has(.map) .bar button")
    page.run("document.querySelector('.map').focus()")
    for key in ("ArrowRight", "ArrowUp"):
        page.press(key)
    assert text(page, "section:has(.map) .bar button") == "Finish the path"
    page.click("section:has(.map) .bar button")
    assert page.run("document.querySelector('.map polyline').points.length") == 2
    page.run("document.querySelector('.map').focus()")
    page.press(" ")
    page.wait("player.piece === loops[plane[2][3]] || player.piece === loops[plane[1][3]]")
    page.press("ArrowLeft")
    assert page.run("document.querySelector('.map polyline').points.length") == 0
    assert text(page, "section:has(.map) .bar button") == "Draw a path"
    here = page.run("[title.textContent, player.time]")
    page.wait(f"player.time > {here[1]} + 2")
    assert text(page, "h2[aria-live]") == here[0]


# ---- The blind page ----


def guess_all(page, right):
    """Guesses every piece, rightly or wrongly, by clicks."""
    answers = page.run("cards.map((card) => card.real)")
    for k, real in enumerate(answers):
        page.click(f".card:nth-of-type({k + 1}) input[value={str(real == right).lower()}]")


@pytest.mark.parametrize(("right", "score"), [(True, 4), (False, 0)])
def test_guesses_are_counted_at_the_end(page, folder, right, score):
    page.open(folder / "blind.html")
    assert page.run("document.querySelector('button.main').disabled")
    guess_all(page, right)
    page.click("button.main")
    assert text(page, ".score").startswith(f"You recognised {score} of 4.")
    assert page.run(f"document.querySelectorAll('.{'right' if right else 'wrong'}').length") == 4
    assert page.run("document.querySelectorAll('fieldset:disabled').length") == 4


def test_the_notes_and_names_are_hidden_until_the_end(page, folder):
    page.open(folder / "blind.html")
    shown = "[...document.querySelectorAll('.roll rect')].filter((r) => r.getBoundingClientRect().width).length"
    assert page.run(shown) == 0
    assert "one" not in page.run("document.querySelector('main').innerText").split()
    guess_all(page, True)
    page.click("button.main")
    assert page.run(shown) > 0
    assert {"one", "two"} <= set(page.run("document.querySelector('main').innerText").split())


def test_a_second_round_starts_anew_in_another_order(page, folder):
    page.open(folder / "blind.html")
    orders = set()
    for _ in range(8):
        orders.add(page.run("JSON.stringify(cards.map((card) => card.source))"))
        guess_all(page, True)
        page.click("button.main")
        page.click("button.main:not([hidden])")
    assert len(orders) > 1
    assert page.run("document.querySelectorAll('input:checked').length") == 0


def test_a_blind_piece_plays_by_its_key(page, folder):
    page.open(folder / "blind.html")
    page.press("2")
    page.wait(PLAYING)


# ---- magenta.js ----


@pytest.fixture(scope="module")
def magenta_js(tmp_path_factory):
    """The file of the client that the page asks a CDN for, from npm."""
    place = tmp_path_factory.mktemp("client")
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    package = "@magenta/music@1.23.1"
    if subprocess.run(["npm", "pack", package, "--silent"], cwd=place, capture_output=True, timeout=120).returncode:
        pytest.skip("npm cannot reach its registry to fetch magenta.js")
    shutil.unpack_archive(next(place.glob("*.tgz")), place)
    return place / "package" / "dist" / "magentamusic.js"


@pytest.fixture(scope="module")
def address():
    """A server of this repository, as `python -m http.server` starts one."""
    handler = functools.partial(QuietHandler, directory=ROOT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/docs/magenta_js.html"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Nothing."""


@pytest.mark.parametrize("model", ["mel_2bar_low", "drums_2bar_low"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_pretrained_folder_plays_in_magenta_js(page, magenta_js, address, model, size):
    page.stand_in({MAGENTA_JS: magenta_js})
    page.open(address, size, touch=size == PHONE)
    page.run(f"document.getElementById('folder').value = '../pretrained/magenta_js/{model}'")
    page.click("#sample")
    page.wait("document.querySelectorAll('.card').length == 4")
    assert page.run("cards.every((card) => card.querySelector('rect'))")
    assert page.run("document.documentElement.scrollWidth") <= size[0]
    page.press("1")
    page.wait(PLAYING)
    page.requests.remove(MAGENTA_JS)


def test_a_folder_that_is_none_is_named(page, magenta_js, address):
    page.stand_in({MAGENTA_JS: magenta_js})
    page.open(address)
    page.run("document.getElementById('folder').value = 'nowhere'")
    page.click("#sample")
    page.wait("document.getElementById('status').textContent.startsWith('nowhere did not play')")
    page.requests.remove(MAGENTA_JS)
    page.errors.clear()  # the browser's own, of the file that is missing


def test_the_page_of_magenta_js_says_how_to_serve_it(page, magenta_js):
    page.stand_in({MAGENTA_JS: magenta_js})
    page.open(ROOT / "docs" / "magenta_js.html")
    assert "python -m http.server" in text(page, "#status")
    page.requests.remove(MAGENTA_JS)
