"""Whether a file is a zip archive that PyTorch may unpack as a checkpoint.

PyTorch does not compare an archive's checksums with its records, and it unpacks whatever the archive says.
"""

import os
import pickletools
import re
import struct
import zipfile
from collections import Counter
from pathlib import Path

PICKLE = "data.pkl"  # the record that holds everything but the values of the tensors
PICKLE_BYTES = 8 * 2**20  # most of that record; a run of the largest preset takes about 0.1 MB
END, END64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q4sLQL")  # the last records of an archive
MAX_CALLS = 10_000  # tensors and ordered dictionaries in a file; a run of the largest preset has about 500
STORAGES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
ALLOWED = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", *(f"torch {kind}Storage" for kind in STORAGES)}
UNKNOWN_STORAGE = re.compile(r"/data/(?![0-9]+$)")  # values of a tensor under letters, whose case PyTorch ignores


def archive_fault(path: Path) -> str | None:
    """What is wrong with a file's archive, or None. Compares the checksum of every record; unpacks nothing."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if fault := _layout_fault(path, records):
            return fault
        if any(record.compress_type or record.compress_size != record.file_size for record in records):
            return "is compressed, which no checkpoint is: it was packed again, and could unpack to any size"
        if sum(record.file_size for record in records) > size:
            return "is damaged: its records overlap"
        if any(UNKNOWN_STORAGE.search(record.filename) for record in records):
            return "is no checkpoint of ours: not all of its tensors are numbered"
        if damaged := archive.testzip():
            return f"is damaged: its record {damaged} does not match its checksum; copy or download the file again"
        pickles = [record for record in records if record.filename.endswith(PICKLE)]
        if any(record.file_size > PICKLE_BYTES for record in pickles):
            return f"is no checkpoint of ours: its {PICKLE} takes more than {PICKLE_BYTES:,} bytes"
        return next(filter(None, (_pickle_fault(archive.read(record)) for record in pickles)), None)


def _layout_fault(path: Path, records: list[zipfile.ZipInfo]) -> str | None:
    """Where an archive leaves room for two readings, or None: names that occur twice, or data around the archive.

    A file has the records, the directory and the end records, and nothing else; all places count from its start.
    """
    names = Counter(record.filename.lower() for record in records)
    if twice := next((name for name, count in names.items() if count > 1), None):
        return f"is no checkpoint of ours: it holds two records of the name {twice}"
    first = min((record.header_offset for record in records), default=0)
    with path.open("rb") as file:
        begins = file.read(4) == b"PK\3\4"
        file.seek(-min(path.stat().st_size, END.size + END64.size), os.SEEK_END)
        tail = file.read()
    signature, *_, size, start, comment = END.unpack(tail[-END.size :])
    ends = [start + size + END.size]
    if len(tail) > END.size and tail[-END.size - 20 :].startswith(b"PK\6\7"):
        *_, size64, start64, _, _, place, _ = END64.unpack(tail[: END64.size])
        same = size in (size64, 2**32 - 1) and start in (start64, 2**32 - 1) and place == start64 + size64
        ends = [place + END64.size + END.size] if same else []
    if first or not begins or comment or signature != b"PK\5\6" or path.stat().st_size not in ends:
        return "is no checkpoint of ours: it holds data around its archive"
    return None


def _pickle_fault(pickled: bytes) -> str | None:
    """What a pickle would make that is not in a checkpoint, or None. Reads its instructions without following them."""
    calls = 0
    for code, argument, _ in pickletools.genops(pickled):
        if code.name.endswith("GLOBAL") and argument not in ALLOWED:
            return f"is no checkpoint of ours: it holds {argument}"
        calls += code.name in ("REDUCE", "NEWOBJ")
    return f"is no checkpoint of ours: it holds over {MAX_CALLS:,} tensors" if calls > MAX_CALLS else None
