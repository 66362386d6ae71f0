"""A corpus by its manifest: the committed one leaks no tune between splits, and folders are read as it says."""

import csv
import re
import shutil
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

import corpus as corpus_module
from corpus import MANIFEST, Entry, file_sha1, gather, load_corpus, main, read_manifest, select, write_manifest
from helpers import SHARED
from midi_utils import DrumsConverter, MelodyConverter, load_songs

BUILT_IN = Path(__file__).parents[1] / "midi_songs" / "built_in"
ROW = r"^\| `(\w+)` \| ([\d,]+) \|.*\| (yes|no)[^|]*\|$"  # one source in docs/corpus.md
MADE = {"mma_nottingham", "mma_openewld", "openewld", "openhymnal", "lieder", "mutopia", "quartets"}
WITHOUT_DRUMS = {"lieder", "mutopia", "quartets"}
UNCHANGED = {"freedoom", "groove", "mma_examples", "nottingham", "simutrans"}


@pytest.fixture
def corpus(tmp_path):
    """A folder with six built-in songs in two subfolders, its manifest, and the manifest's entries."""
    entries = []
    for k, song in enumerate(sorted(BUILT_IN.glob("*.mid"))[:6]):
        path = tmp_path / "songs" / "ba"[k % 2] / song.name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(song, path)
        name = path.relative_to(tmp_path / "songs").as_posix()
        entries.append(Entry(name, file_sha1(path), ("train", "train", "valid")[k % 3], f"tune {k}"))
    write_manifest(tmp_path / "corpus.csv", entries)
    return tmp_path / "songs", tmp_path / "corpus.csv", sorted(entries)


def read(corpus, split, converter=None):
    """Reads a split; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_corpus(corpus[0], split, converter or MelodyConverter(), corpus[1], progress=False)


def test_the_committed_manifest_is_sorted_and_no_tune_is_in_two_splits():
    entries = read_manifest()
    assert entries == sorted(entries)
    assert len({entry.path for entry in entries}) == len({entry.sha1 for entry in entries}) == len(entries)
    assert {Path(entry.path).parent.as_posix() for entry in entries} == MADE | UNCHANGED
    assert all(len(entry.sha1) == 40 and int(entry.sha1, 16) for entry in entries)
    splits = defaultdict(set)
    for entry in entries:
        splits[entry.group].add(entry.split)
    assert all(len(split) == 1 for split in splits.values())
    assert set.union(*splits.values()) == {"train", "valid", "test"}


def test_a_manifest_from_a_spreadsheet_is_read(tmp_path):
    """It starts with a byte order mark, and names are in any language."""
    path = tmp_path / "corpus.csv"
    path.write_bytes("\ufeffpath,sha1,split\r\nmélodie ♫ 日本.mid,12,train\r\n".encode())
    assert read_manifest(path) == [Entry("mélodie ♫ 日本.mid", "12", "train", "mélodie ♫ 日本.mid")]
    path.write_bytes("path,sha1,split\r\nmélodie.mid,12,train\r\n".encode("cp1252"))
    with pytest.raises(ValueError, match="corpus.csv is not UTF-8: save it as 'CSV UTF-8'"):
        read_manifest(path)


def test_the_counts_in_the_document_are_the_manifests():
    text = (MANIFEST.parents[1] / "docs" / "corpus.md").read_text()
    rows = {name: (int(n.replace(",", "")), kept) for name, n, kept in re.findall(ROW, text, re.M)}
    assert {name: count for name, (count, _) in rows.items()} == Counter(Path(e.path).parts[0] for e in read_manifest())
    assert {name for name, (_, kept) in rows.items() if kept == "yes"} == UNCHANGED


def test_every_piece_whose_licence_asks_for_credit_is_credited():
    with open(MANIFEST.with_name("mutopia_credits.csv"), newline="", encoding="utf-8") as file:
        credits = list(csv.DictReader(file))
    assert len(credits) == 216
    assert {credit["path"] for credit in credits} <= {entry.path for entry in read_manifest()}
    assert {credit["licence"][:5] for credit in credits} == {"CC BY"}
    assert all(credit["composer"] and credit["typesetter"] for credit in credits)  # some pieces state no title


def entry(path, group, split="train"):
    return Entry(path, "00", split, group)


SONGS = [
    entry("game/a.mid", "1"),
    entry("tunes/b.mid", "2"),
    entry("tunes/deep/c.mid", "3", "test"),
    entry("mma_tunes/b__swing.mid", "2"),
    entry("mma_tunes/d__swing.mid", "4"),
    entry("hymns/b.mid", "2"),
    entry("hymns/e.mid", "5", "valid"),
    entry("f.mid", "6"),
]


def paths(entries):
    return [entry.path for entry in entries]


def test_a_source_is_the_first_folder_and_has_its_accompanied_tunes():
    sources = ["game", "tunes", "tunes", "tunes", "tunes", "hymns", "hymns", ""]
    assert [entry.source for entry in SONGS] == sources
    tunes = ["tunes/b.mid", "tunes/deep/c.mid", "mma_tunes/b__swing.mid", "mma_tunes/d__swing.mid"]
    assert paths(select(SONGS, only=["tunes"])) == paths(select(SONGS, only=["mma_tunes"])) == tunes
    assert select(SONGS) == SONGS


@pytest.mark.parametrize("name", ["tunes", "mma_tunes"])
def test_a_source_is_left_out_with_every_other_song_of_its_groups(name):
    assert paths(select(SONGS, without=[name])) == ["game/a.mid", "hymns/e.mid", "f.mid"]
    assert paths(select(SONGS, only=["hymns"], without=[name, "game"])) == ["hymns/e.mid"]


def test_an_unknown_source_is_named_with_those_that_there_are():
    for choice in ({"only": ["tune"]}, {"without": ["game", "tune"]}):
        with pytest.raises(ValueError, match="no source 'tune'; it has game, hymns, mma_tunes, tunes"):
            select(SONGS, **choice)


def test_what_is_left_out_of_the_committed_manifest_shares_no_group_with_what_stays():
    entries = read_manifest()
    for names in (["simutrans", "freedoom"], ["openewld"], ["lieder"]):
        without, only = select(entries, without=names), select(entries, only=names)
        assert not {entry.group for entry in without} & {entry.group for entry in only}
        assert {entry.split for entry in without} == {entry.split for entry in only} == {"train", "valid", "test"}
    assert {entry.path.split("/")[0] for entry in select(entries, only=["openewld"])} == {"openewld", "mma_openewld"}


def test_a_manifest_is_read_back_as_written(corpus):
    assert read_manifest(corpus[1]) == corpus[2]


def test_other_columns_are_ignored_and_a_song_without_a_group_forms_its_own(tmp_path):
    (tmp_path / "m.csv").write_text("split,seconds,path,sha1\ntest,7.5,a/b.mid,00\n")
    assert read_manifest(tmp_path / "m.csv") == [Entry("a/b.mid", "00", "test", "a/b.mid")]


def test_a_split_has_the_windows_of_its_songs_and_their_paths_as_names(corpus):
    folder, _, entries = corpus
    paths = [entry.path for entry in entries if entry.split == "train"]
    expected = load_songs([folder / path for path in paths], MelodyConverter(), progress=False)
    songs = read(corpus, "train")
    assert list(songs.names) == paths
    assert np.array_equal(songs.labels, expected.labels)
    assert np.array_equal(songs.song, expected.song)
    assert not set(read(corpus, "valid").names) & set(songs.names)


def test_a_split_is_read_without_a_source_or_with_it_alone(corpus):
    folder, manifest, entries = corpus
    everything = read(corpus, ("train", "valid"))
    assert list(everything.names) == [entry.path for entry in entries]
    parts = [
        load_corpus(folder, ["train", "valid"], MelodyConverter(), manifest, progress=False, **choice)
        for choice in ({"only": ["a"]}, {"without": ["a"]})
    ]
    assert [{name[0] for name in part.names} for part in parts] == [{"a"}, {"b"}]
    assert sorted(parts[0].names + parts[1].names) == list(everything.names)
    assert "train and valid of corpus.csv, without a)" in str(parts[1].report)
    with pytest.raises(ValueError, match=r"no split 'valid', a alone, without a; it has \[\]"):
        load_corpus(folder, "valid", MelodyConverter(), manifest, only=["a"], without=["a"])


def test_the_report_names_songs_by_their_paths(corpus):
    (corpus[0] / corpus[2][0].path).write_bytes(b"no music")
    with pytest.warns(UserWarning, match="changed: 1"):
        songs = load_corpus(corpus[0], corpus[2][0].split, MelodyConverter(), corpus[1], progress=False)
    assert corpus[2][0].path in dict(songs.report.refused)
    assert "corpus.csv" in str(songs.report)


def test_the_folder_may_be_the_working_folder(corpus, monkeypatch):
    monkeypatch.chdir(corpus[0])
    assert read((".", *corpus[1:]), "train").names == read(corpus, "train").names


def test_missing_and_changed_songs_are_counted_per_folder(corpus):
    folder, manifest, entries = corpus
    train = [entry for entry in entries if entry.split == "train"]
    (folder / train[0].path).unlink()
    (folder / train[-1].path).write_bytes((folder / train[1].path).read_bytes())
    counts = r"of 4 songs, missing: 1 \(a 1\); changed: 1 \(b 1\)"
    with pytest.warns(UserWarning, match=counts) as record:
        songs = load_corpus(folder, "train", MelodyConverter(), manifest, progress=False)
    assert len(record) == 1
    assert record[0].filename == __file__
    assert set(songs.names) <= {entry.path for entry in train[1:]}


def test_what_cannot_be_read_is_named(corpus, tmp_path):
    folder, manifest, _ = corpus
    with pytest.raises(ValueError, match=r"none of the 2 songs .* docs/corpus.md"):
        load_corpus(tmp_path, "valid", MelodyConverter(), manifest)
    with pytest.raises(ValueError, match=r"no split .test..*\['train', 'valid'\]"):
        load_corpus(folder, "test", MelodyConverter(), manifest)
    with pytest.raises(ValueError, match="no such manifest"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "faulty.csv").write_text("path,split\na.mid,train\n")
    with pytest.raises(ValueError, match="no sha1"):
        read_manifest(tmp_path / "faulty.csv")


def test_songs_are_found_by_their_content(corpus, tmp_path):
    folder, manifest, entries = corpus
    download, gathered = tmp_path / "download", tmp_path / "gathered"
    for k, entry in enumerate(entries[1:]):
        path = download / "deep" / f"{k}.MID"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / entry.path, path)
    (download / "other.mid").write_bytes(b"some other song")
    (download / "link.mid").symlink_to(tmp_path / "nothing")
    gather(gathered, [download], manifest)
    found = {path.relative_to(gathered).as_posix(): file_sha1(path) for path in gathered.rglob("*.mid")}
    assert found == {entry.path: entry.sha1 for entry in entries[1:]}
    gather(gathered, [tmp_path], manifest)  # a download may contain the corpus's folder itself
    with pytest.raises(ValueError, match="no such folder"):
        gather(gathered, [tmp_path / "none"], manifest)


def test_the_command_counts_the_songs_of_each_folder(corpus, monkeypatch, capsys):
    folder, manifest, entries = corpus
    (folder / entries[0].path).write_bytes(b"another song")
    monkeypatch.setattr(corpus_module, "MANIFEST", manifest)
    main([str(folder)])
    assert capsys.readouterr().out == "a: 2 of 3 songs\nb: 3 of 3 songs\n"
    with pytest.raises(SystemExit, match="no such folder"):
        main([str(folder), str(folder / "none")])


def test_the_reference_data_has_the_songs_of_the_manifest():
    if not (SHARED / "data").is_dir():
        pytest.skip("reference data not present")
    songs = read((SHARED / "data", MANIFEST), "valid", DrumsConverter())
    valid = {entry.path for entry in read_manifest() if entry.split == "valid"}
    assert set(songs.names) <= valid
    assert len(songs.names) > len([path for path in valid if Path(path).parts[0] not in WITHOUT_DRUMS]) / 2
    assert len(songs) > 1000
