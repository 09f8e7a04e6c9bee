"""A model file: the network in front, its labels and metadata behind, and a seal at the end.

A ``.tflite`` file is read from its front and a zip from its end, so ``metadata.json`` and
``labels.txt`` are appended to the network as a zip: TFLite's own way for associated files. The same
record travels inside a ``.keras`` file (itself a zip) from the trainer to the converter.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

from edge_xray.errors import ModelError
from edge_xray.metadata import ModelMetadata
from edge_xray.stable_zip import stable_entry

METADATA_MEMBER = "metadata.json"
LABELS_MEMBER = "labels.txt"
MOST_METADATA_BYTES = 64 * 2**20
"""Most that is unpacked of a record: the shipped models' have 65 kB, and a hostile one's may unpack to gigabytes."""
SEAL_BYTES = 64
"""Length of the zip comment that ends a packed model: SHA-256 of all bytes before it, as hex."""

ZIP_MAGIC, HDF5_MAGIC = b"PK\x03\x04", b"\x89HDF\r\n"
"""How Keras' own files begin, new and old."""

KERAS_MEMBER = "edge_xray.json"
"""Name of the record inside a ``.keras`` file, where ``metadata.json`` is Keras' own."""


def split_packed(data: bytes) -> tuple[bytes, bytes]:
    """Divide a packed model into the network and the appended zip.

    Args:
        data: the whole file.

    Returns:
        ``(network, archive)``; ``archive`` is empty for a model that was never packed.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return data, b""
    # Python rebases header offsets by the bytes before the zip, so the least is where it starts.
    start = min((member.header_offset for member in members), default=len(data))
    return data[:start], data[start:]


def read_metadata(path: Path) -> ModelMetadata:
    """Read the metadata packed into a ``.tflite`` or carried by a ``.keras`` file.

    Raises:
        ModelError: the file is missing, no zip, or carries no metadata of this kit.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"model {path}: cannot be read ({error.strerror}); name a .tflite file or a packaged model"
        ) from error
    return parse_metadata(data, str(path))


def parse_metadata(data: bytes, source: str) -> ModelMetadata:
    """Read the metadata of a model file that is already in memory.

    Args:
        data: the whole file.
        source: its name, for messages.

    Raises:
        ModelError: no zip, or no metadata of this kit in it, or metadata that no model can have.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            member = KERAS_MEMBER if KERAS_MEMBER in names else METADATA_MEMBER
            with archive.open(member) as stream:
                record = json.loads(stream.read(MOST_METADATA_BYTES))
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, EOFError, RuntimeError) as error:
        raise ModelError(
            f"model {source}: carries no edge-xray metadata; expected a .tflite packed by "
            "`edge-xray convert`. Convert the model again, or copy the file again if it is damaged."
        ) from error
    except Exception as error:  # zlib.error has no common base
        raise ModelError(f"model {source}: its metadata is damaged ({error!r})") from error
    if not isinstance(record, dict):
        raise ModelError(f"model {source}: metadata.json must hold an object")
    try:
        return ModelMetadata.from_dict(record)
    except ModelError as error:
        raise ModelError(
            f"model {source}: {error}. If a newer edge-xray made it, update this one; else convert it again."
        ) from error


def pack_model(network: bytes, metadata: ModelMetadata) -> bytes:
    """Append labels and metadata to a network as a zip; the same input gives the same bytes.

    The zip's comment seals the file (`check_seal`): neither the flatbuffer's verifier nor a zip's
    checksums notice a change of every byte.

    Args:
        network: the ``.tflite`` flatbuffer, without any appended zip.
        metadata: what to append; its ``network_sha256`` is set here.

    Returns:
        The packed model file. TFLite runtimes load it unchanged.
    """
    metadata = replace(metadata, network_sha256=hashlib.sha256(network).hexdigest())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (
            (LABELS_MEMBER, "".join(f"{label}\n" for label in metadata.label_names)),
            (METADATA_MEMBER, metadata.to_json()),
        ):
            archive.writestr(stable_entry(name), text, compresslevel=9)
        archive.comment = b"0" * SEAL_BYTES
    body = (network + buffer.getvalue())[:-SEAL_BYTES]
    return body + hashlib.sha256(body).hexdigest().encode("ascii")


def check_seal(data: bytes, source: str) -> None:
    """Check that no byte of a packed model changed since `pack_model` wrote it.

    Args:
        data: the whole file.
        source: its name, for the message.

    Raises:
        ModelError: the file is damaged, cut short, or was not written by `pack_model`.
    """
    if data.startswith((ZIP_MAGIC, HDF5_MAGIC)):
        raise ModelError(
            f"model {source}: expected a packed .tflite file, this looks like a Keras model; "
            "`edge-xray convert` makes the one of the other"
        )
    seal = hashlib.sha256(data[:-SEAL_BYTES]).hexdigest().encode("ascii")
    if data[-SEAL_BYTES:] != seal:
        raise ModelError(
            f"model {source}: the file is damaged, cut short or was not packed by `edge-xray convert` "
            "(its bytes do not match the checksum at its end). Copy it again, or convert it again."
        )


def attach_to_keras(path: Path, metadata: ModelMetadata) -> None:
    """Write the metadata into a ``.keras`` file beside Keras' own members; replaces an earlier one.

    Args:
        path: the ``.keras`` file; replaced atomically.
        metadata: the record.
    """
    temporary = path.with_name(path.name + ".tmp")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(temporary, "w") as new:
        for item in old.infolist():
            if item.filename != KERAS_MEMBER:
                new.writestr(item, old.read(item))
        entry = stable_entry(KERAS_MEMBER)
        new.writestr(entry, metadata.to_json(), compresslevel=9)
    temporary.replace(path)
