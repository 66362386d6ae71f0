"""Times one row with Magenta's own MusicVAE and prints a measurement as JSON; for a Python that has Magenta installed.

    DIR/bin/python benchmarks/magenta.py '{"config": "cat-mel_2bar_small", "work": "train", "batch": 64, ...}'

run.py starts it; `magenta_task` in run.py lists the fields. The training step is built as in music_vae_train.py, except
that the batch is stored in the graph. Everything else goes through Magenta's `TrainedModel`.
"""

# ruff: noqa: E402 (the imports are timed, so the clock starts before them)

import time

START = time.perf_counter()

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import copy
import json
import logging
import resource
import sys
import tempfile
import warnings
from unittest import mock

sys.path.pop(0)  # this folder, where Python would take this file for the package magenta
warnings.filterwarnings("ignore")

import numpy as np
import pretty_midi
import tensorflow.compat.v1 as tf
from magenta.models.music_vae import TrainedModel, configs
from note_seq import midi_io

tf.disable_v2_behavior()
logging.getLogger("tensorflow").setLevel(logging.ERROR)
IMPORTED = time.perf_counter()


def sized_config(task):
    """Magenta's config with the sizes, the batch size and the scheduled sampling of a task."""
    config = copy.deepcopy(configs.CONFIG_MAP[task["config"]])
    changes = dict(task["sizes"], batch_size=task["batch"])
    changes.update(sampling_schedule="constant", sampling_rate=task["sampling_probability"])
    for name, value in changes.items():
        if name in config.hparams:
            config.hparams.del_hparam(name)  # it fixes the type, and some presets have integer rates
        config.hparams.add_hparam(name, value)
    return config


def random_frames(task, steps):
    """One-hot frames of uniformly random classes: [batch, steps, depth], a trio's parts concatenated."""
    random = np.random.RandomState(0)
    shape = (task["batch"], steps)
    parts = [np.eye(depth, dtype=np.float32)[random.randint(0, depth, shape)] for depth in task["depths"]]
    return np.concatenate(parts, -1)


def clipped(gradients, norm, hparams):
    """Gradients clipped to the limit on their norm; zeros if the norm exceeds grad_norm_clip_to_zero."""
    return tf.cond(
        norm < hparams.grad_norm_clip_to_zero,
        lambda: tf.clip_by_global_norm(gradients, hparams.grad_clip, use_norm=norm)[0],
        lambda: [tf.zeros_like(gradient) for gradient in gradients],
    )


def training(task, folder):
    """One training step."""
    config = sized_config(task)
    steps = config.hparams.max_seq_len
    config.model.build(config.hparams, config.data_converter.output_depth, is_training=True)
    kept = {"trainable": False, "collections": [tf.GraphKeys.LOCAL_VARIABLES]}
    frames = tf.Variable(random_frames(task, steps), **kept)
    lengths = tf.Variable(np.full(task["batch"], steps, np.int32), **kept)
    optimizer = config.model.train(tf.identity(frames), tf.identity(frames), tf.identity(lengths), None)
    gradients, variables = zip(*optimizer.compute_gradients(config.model.loss))
    limited = clipped(gradients, tf.global_norm(gradients), config.hparams)
    train_op = optimizer.apply_gradients(list(zip(limited, variables)), global_step=config.model.global_step)
    session = tf.Session()
    session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
    return lambda: session.run([config.model.loss, train_op])


def untrained(task, folder):
    """A `TrainedModel` with random weights in place of restored ones."""
    path = os.path.join(folder, "none")
    open(path, "w").close()

    def draw(saver, session, checkpoint):
        session.run(tf.global_variables_initializer())

    with mock.patch.object(tf.train.Saver, "restore", draw):
        return TrainedModel(sized_config(task), batch_size=task["batch"], checkpoint_dir_or_path=path)


def sampling(task, folder):
    """New pieces as NoteSequences."""
    model, config = untrained(task, folder), sized_config(task)
    return lambda: model.sample(n=task["batch"], length=config.hparams.max_seq_len, temperature=1.0)


def encoding(task, folder):
    """Frames to latent vectors."""
    model, steps = untrained(task, folder), sized_config(task).hparams.max_seq_len
    frames, lengths = random_frames(task, steps), [np.int32(steps)] * task["batch"]
    return lambda: model.encode_tensors(list(frames), list(lengths))


def saving(task, folder):
    """A model's variables to files."""
    model = untrained(task, folder)
    with model._sess.graph.as_default():
        saver = tf.train.Saver()
    return lambda: saver.save(model._sess, os.path.join(folder, "model.ckpt"), write_meta_graph=False)


def loading(task, folder):
    """Files in the disk cache to a model."""
    saving(task, folder)()
    path = os.path.join(folder, "model.ckpt")
    return lambda: TrainedModel(sized_config(task), batch_size=task["batch"], checkpoint_dir_or_path=path)


def reading(task, folder):
    """MIDI files to tensors."""
    converter = copy.deepcopy(configs.CONFIG_MAP[task["config"]].data_converter)
    converter.set_mode("eval")

    def read(path):
        return converter.to_tensors(midi_io.midi_to_note_sequence(pretty_midi.PrettyMIDI(path)))

    return lambda: [read(path) for path in task["files"]]


WORKS = {
    "train": training,
    "train scheduled": training,
    "encode": encoding,
    "sample": sampling,
    "save": saving,
    "load": loading,
    "MIDI to labels": reading,
    "loops to labels": reading,
}


def seconds_of(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def durations(call, task):
    """Seconds of each of several calls, by the same rule as `durations` in measure.py."""
    warm = seconds_of(call)
    least, seconds = (2, [warm]) if warm > task["slow"] else (3, [])
    while len(seconds) < least or (sum(seconds) < task["budget"] and len(seconds) < task["most_calls"]):
        seconds.append(seconds_of(call))
    return seconds


def measure(task):
    """The fields of a `Measurement` that are not lower bounds."""
    with tempfile.TemporaryDirectory() as folder:
        call = WORKS[task["work"]](task, folder)
        call()
        first = time.perf_counter() - IMPORTED
        seconds = float(np.median(durations(call, task)))
        memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = {"seconds": seconds, "first_seconds": first, "import_seconds": IMPORTED - START}
    return dict(times, memory=memory)


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
