"""Rows exist, have unique names and are selected by words."""

from benchmarks import rows
from benchmarks.rows import Row


def test_rows_have_existing_models_and_unique_names():
    made = rows.all_rows(("cpu", "cuda"))
    assert len({row.name for row in made}) == len(made)
    for row in made:
        model = rows.config_of(row).model
        assert model.steps % 16 == 0
    published = [row for row in made if row.device == "cuda" and row.model == "hierdec-mel_16bar"]
    assert {row.batch for row in published if row.work == "train"} == {512}
    reduced = rows.config_of(Row("cpu", "auto", "hierdec-mel_16bar reduced", "train scheduled", 32))
    assert reduced.model.enc_rnn_size == (512, 512)
    assert (reduced.training.batch_size, reduced.training.sampling_rate) == (32, 0.5)


def test_rows_are_selected_by_all_words():
    made = [Row("cpu", "float32", "a_small", "train", 64), Row("cpu", "auto", "a_small", "train", 512)]
    assert rows.select(made, []) == made
    assert rows.select(made, ["small", "512"]) == made[1:]
    assert rows.select(made, ["small", "encode"]) == []
