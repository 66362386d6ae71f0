"""The tables hold our numbers and the paper's."""

import pytest

from helpers import table_rows
from paper import tables
from paper.prior_choice import HELD_OUT


def test_accuracy_table_has_our_numbers_beside_the_papers(made):
    table = tables.accuracy_table([made("hier-mel_16bar_mini", 0.9, 0.7)])
    assert table_rows(table) == [
        ["hier-mel_16bar_mini", "all", "0.613", "0.900 (0.890 to 0.910)", "0.919", "0.700 (0.690 to 0.710)", "0.812",
         "0.920 (0.910 to 0.930)", "0.720 (0.710 to 0.730)", "188"],
    ]  # fmt: skip
    columns = [len(line.split(" | ")) for line in table.splitlines()]
    assert columns == [10, 10, 10]


@pytest.mark.parametrize(
    ("preset", "part", "paper"),
    [
        ("cat-mel_2bar_small", "all", (0.986, 0.951)),
        ("cat-drums_2bar_mini", "all", (0.979, 0.917)),
        ("flat-mel_16bar_mini", "all", (0.883, 0.620)),
        ("flat-drums_16bar_small", "all", (0.884, 0.549)),
        ("hier-drums_16bar_mini", "all", (0.928, 0.879)),
        ("hierdec-trio_16bar", "bass", (0.880, 0.773)),
        ("flat-trio_16bar_tiny", "drums", (0.903, 0.641)),
        ("hier-mel_16bar_tiny", "all", (0.919, 0.812)),
        ("cat-mel_2bar_med_chords", "all", (None, None)),
    ],
)
def test_paper_accuracy_follows_from_the_presets_name(preset, part, paper):
    assert tables.paper_accuracy(preset, part) == paper


def test_numbers_that_the_paper_lacks_are_dashes(made):
    (row,) = table_rows(tables.accuracy_table([made("cat-mel_2bar_med_chords")]))
    assert [row[4], row[6]] == ["–", "–"]


def test_a_trio_has_one_row_per_part(made):
    table = table_rows(tables.accuracy_table([made("hier-trio_16bar_mini", parts=("melody", "bass", "drums"))]))
    assert [row[1] for row in table] == ["melody", "bass", "drums"]
    assert [row[6] for row in table] == ["0.753", "0.773", "0.863"]


def test_hierarchy_table_compares_with_the_flat_twin_of_the_same_size_on_the_same_windows(made):
    results = [
        made("hier-mel_16bar_mini", 0.9, 0.7),
        made("flat-mel_16bar_mini", 0.8, 0.75),
        made("hier-drums_16bar_mini"),
        made("flat-drums_16bar_small"),
        made("cat-mel_2bar_mini"),
        made("hier-mel_16bar_mini", 0.5, 0.5) | {"windows": 12},  # of other songs
    ]
    assert table_rows(tables.hierarchy_table(results)) == [
        ["mel_16bar_mini", "all", "all 1,064", "+0.100", "+0.036", "-0.050", "+0.192", "188", "188"],
        ["mel_16bar_mini", "all", "new, 700", "+0.100", "–", "-0.050", "–", "188", "188"],
        ["mel_16bar_mini", "all", "groove, 64", "+0.050", "–", "-0.025", "–", "188", "188"],
    ]


def gain_of(mean):
    return {"mean": mean, "low": mean - 1, "high": mean + 1}


def twin_pair(seed, mean):
    gains = {name: gain_of(mean) for name in ("forced", "sampled", "kl_bits", "nats")}
    form = {
        kind: {
            part: {"similarity": dict.fromkeys(backs, 0.25), "notes": 0.5, "rests": 0.125}
            for part, backs in {"1 to 16": ["1"], "17 to 32": ["1", "16"]}.items()
        }
        for kind in ("conductor", "flat", "songs")
    }
    facts = {"names": ["a", "b"], "preset": "hier-mel_16bar_mini", "steps": 9, "seed": seed, "windows": 1234}
    return facts | gains | {"form": form}


def test_twins_have_a_row_per_pair_and_their_mean():
    pairs = [twin_pair(0, 2.0), twin_pair(1, 4.0), twin_pair(0, 9.0) | {"steps": 99}]  # the last was trained otherwise
    rows = table_rows(tables.twins_table(pairs))
    gain = "+2.000 (+1.000 to +3.000)"
    assert rows[0] == ["`a` and `b`", "9", "0", "1,234", gain, gain, "+2 (+1 to +3)", "+2 (+1 to +3)"]
    assert len(rows) == 4
    assert rows[3] == ["mean of 2 pairs", "9", "–", "–", "+3.000 ± 1.000", "+3.000 ± 1.000", "+3 ± 1", "+3 ± 1"]
    assert len(table_rows(tables.twins_table(pairs[:1]))) == 1
    form = table_rows(tables.decoded_on_table(pairs[0]))
    assert [row[0] for row in form] == ["a", "a", "b", "b", "real songs", "real songs"]
    assert form[:2] == [
        ["a", "1 to 16", "0.25", "–", "0.50", "0.12"],
        ["a", "17 to 32", "0.25", "0.25", "0.50", "0.12"],
    ]


def test_group_table_has_one_column_per_source(made):
    results = [made("hier-mel_16bar_mini", sampled=0.7), made("cat-mel_2bar_mini", sampled=0.5)]
    del results[1]["groups"]["groove"], results[1]["reconstruction"]["sampled"]["by_group"]["groove"]
    table = tables.group_table(results)
    assert table.splitlines()[0] == "| model | part | all | new | groove | KL, bits |"
    assert table_rows(table) == [
        ["hier-mel_16bar_mini", "all", "0.700", "0.600", "0.350", "188"],
        ["cat-mel_2bar_mini", "all", "0.500", "0.400", "–", "188"],
    ]


def test_other_sources_have_a_row_per_part_where_there_are_any(made):
    earlier = made("cat-mel_2bar_mini")
    del earlier["other_sources"], earlier["without_sources"]
    results = [earlier, made("hier-trio_16bar_mini", 0.9, 0.7, parts=("melody", "bass"))]
    row = ["hier-trio_16bar_mini", "game", "melody", "12", "2,345", "0.500", "0.920 (0.910 to 0.930)",
           "0.720 (0.710 to 0.730)", "0.900 (0.890 to 0.910)", "0.700 (0.690 to 0.710)", "40.2 (30.0 to 50.0)",
           "15 (12 to 18)"]  # fmt: skip
    table = tables.other_sources_table(results)
    assert table_rows(table) == [row, [*row[:2], "bass", *row[3:]]]
    assert {line.count(" | ") for line in table.splitlines()} == {11}


def test_facts_bound_and_novelty_tables_show_the_results(made):
    results = [made("cat-mel_2bar_mini")]
    (facts,), (bound,), (novelty,) = (
        table_rows(make_table(results)) for make_table in (tables.facts_table, tables.bound_table, tables.novelty_table)
    )
    assert facts[1:] == ["764,058", "–", "31.2", "0", "test", "46", "1,064"]
    assert bound[1:3] == ["444.7 (382.1 to 504.5)", "2.506"]
    assert bound[-2:] == ["12.3", "111 of 128"]
    assert novelty[1:] == ["0.062", "0.125", "0.200", "0.100", "1.500", "1.250"]


def test_priors_that_a_model_lacks_are_dashes(made):
    with_prior, without = made("cat-mel_2bar_mini"), made("cat-drums_2bar_mini")
    del without["priors"]["width 0.8"]
    table = tables.prior_table([without, with_prior])
    assert table.splitlines()[0] == "| model | standard normal | scale 0.8 | held-out music |"
    normals, narrow = "3.50 nats, 10 % repeated, 0.0 % copies", "1.50 nats, 25 % repeated, 6.2 % copies"
    assert [row[1:3] for row in table_rows(table)] == [[normals, "–"], [normals, narrow]]
    assert table_rows(table)[0][3].startswith("1.25 nats")
    assert table_rows(table)[0][3].endswith("12.5 % copies")


def test_held_out_music_measured_beside_the_priors_is_no_prior(made):
    result = made("cat-mel_2bar_mini")
    result["priors"] |= {HELD_OUT: result["priors"]["standard normal"] | {"repetition_8": None, "parts": {}}}
    header, _, row = tables.prior_table([result]).splitlines()
    assert header == "| model | standard normal | scale 0.8 | held-out music |"
    assert row.count("nats") == 3


def test_samples_stand_beside_held_out_windows_part_by_part(made):
    result = made("hier-trio_16bar_mini", parts=("melody", "bass"))
    parts = {"melody": {"cost": 1.2, "notes": 0.3, "range": 12.0}, "bass": {"cost": 0.7, "notes": 0.2, "range": None}}
    samples = {"repetition": 0.25, "repetition_8": None, "copies": 0.0, "parts": parts}
    result["priors"] = dict.fromkeys((HELD_OUT, "standard normal", "width 0.8"), samples)
    rows = table_rows(tables.samples_table([result]))
    assert [row[1:3] for row in rows[::3]] == [["melody", "held-out music"], ["bass", "held-out music"]]
    assert rows[2][2:] == ["from the prior", "1.20", "0.30", "12.0", "25.0 %", "–", "0.0 %"]
    assert rows[5][3:] == ["0.70", "0.20", "–", "–", "–", "–"]  # repetition and copies are of all parts together


def test_a_point_of_a_front_shows_its_price_and_what_its_samples_cost():
    point = {"name": "mel_2bar", "family": "mel_2bar", "steps": 10_000, "beta": 0.02, "kl_bits": 139.4}
    point |= {"reconstruction": 2.04, "nats": 98.6, "teacher_forced": {"all": 0.971}, "sampled": {"all": 0.94}}
    point |= {"cost_standard_normal": 1.914, "cost_prior": 1.9, "cost_held_out": 1.468, "prior": "mixture width 0.6"}
    (row,) = table_rows(tables.rate_distortion_table([point]))
    front, samples = ["mel_2bar", "0.02", "10,000", "139", "2.0", "98.6"], ["1.91", "1.90", "1.47"]
    assert row == [*front, "all", "0.971", "0.940", *samples]
