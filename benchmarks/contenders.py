"""Ways to score a folder of films, each as a process of its own.

    python benchmarks/contenders.py NAME FOLDER MODELS

MODELS is JSON: ``int8`` and ``float`` name ``.tflite`` files, ``keras`` a ``.keras`` file. Every contender reads
every film, scores it and keeps the scores; ours (`edge-xray scan`) does more, and is called as it is.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HUFFMAN_SCALE = 8
"""libjpeg's smallest scaled decode: every Huffman symbol is read, and one value a block computed."""


def _interpreter(path: str, threads: int) -> tuple[Any, dict[str, Any]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter, interpreter.get_input_details()[0]


def floor(films: list[Path], models: dict[str, str]) -> list[float]:
    """What cannot be avoided: read every symbol of the JPEG, and invoke the network."""
    interpreter, detail = _interpreter(models["int8"], 1)
    _, height, width, _ = detail["shape"]
    blank = np.zeros(detail["shape"], np.uint8)
    output = interpreter.get_output_details()[0]["index"]
    scores = []
    for path in films:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.draft("L", (image.width // HUFFMAN_SCALE, image.height // HUFFMAN_SCALE))
            image.load()
        interpreter.set_tensor(detail["index"], blank)
        interpreter.invoke()
        scores.append(float(interpreter.get_tensor(output).ravel()[0]) + 0 * (height + width))
    return scores


def floor_twice(films: list[Path], models: dict[str, str]) -> list[float]:
    """The floor in two processes that share nothing, each with half of the films: what a second core is worth."""
    child = os.fork()
    if child == 0:
        os._exit(0 if floor(films[1::2], models) else 1)
    scores = floor(films[::2], models)
    _, status = os.waitpid(child, 0)
    return scores if status == 0 else []


def naive(films: list[Path], models: dict[str, str]) -> list[float]:
    """As many notebooks do: the whole film as RGB, resized, to a float network."""
    interpreter, detail = _interpreter(models["float"], 1)
    _, height, width, channels = detail["shape"]
    output = interpreter.get_output_details()[0]["index"]
    scores = []
    for path in films:
        with Image.open(path) as image:
            rgb = np.asarray(image.convert("RGB").resize((width, height)), np.float32)
        interpreter.set_tensor(detail["index"], rgb[None, ..., :channels])
        interpreter.invoke()
        scores.append(float(interpreter.get_tensor(output).ravel()[0]))
    return scores


def keras_predict(films: list[Path], models: dict[str, str]) -> list[float]:
    """The trained network in the library that trained it, one batch after another."""
    import keras

    network = keras.saving.load_model(models["keras"], compile=False)
    _, height, width, channels = network.inputs[0].shape
    mode = "grayscale" if channels == 1 else "rgb"
    batch = np.stack(
        [
            keras.utils.img_to_array(
                keras.utils.load_img(path, color_mode=mode, target_size=(height, width))
            )
            for path in films
        ]
    )
    answer = network.predict(batch, verbose=0)
    values = next(iter(answer.values())) if isinstance(answer, dict) else answer
    return [float(row.ravel()[0]) for row in values]


def openvino(films: list[Path], models: dict[str, str]) -> list[float]:
    """Intel's runtime on the same int8 file."""
    import openvino as ov

    core = ov.Core()
    network = core.compile_model(models["int8"], "CPU", {"INFERENCE_NUM_THREADS": 1})
    shape = tuple(network.input(0).shape)
    scores = []
    for path in films:
        with Image.open(path) as image:
            grey = image.convert("L").resize((shape[2], shape[1]), Image.Resampling.BICUBIC)
        pixels = np.asarray(grey, np.uint8).reshape(shape)
        scores.append(float(network(pixels)[0].ravel()[0]))
    return scores


def onnxruntime(films: list[Path], models: dict[str, str]) -> list[float]:
    """The same network as ONNX, float (``models["onnx"]``), on Microsoft's runtime."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(models["onnx"], options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    _, height, width, channels = entry.shape
    scores = []
    for path in films:
        with Image.open(path) as image:
            grey = image.convert("L").resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(grey, np.float32).reshape(1, height, width, channels)
        scores.append(float(session.run(None, {entry.name: pixels})[0].ravel()[0]))
    return scores


CONTENDERS: dict[str, Callable[[list[Path], dict[str, str]], list[float]]] = {
    "floor": floor,
    "floor, 2 processes": floor_twice,
    "naive": naive,
    "keras": keras_predict,
    "openvino": openvino,
    "onnxruntime": onnxruntime,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Score a folder of films in one of several ways.")
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", type=json.loads, help="JSON: int8, float and keras name files")
    asked = parser.parse_args()
    found = CONTENDERS[asked.name](sorted(asked.folder.iterdir()), asked.models)
    sys.exit(0 if found and all(np.isfinite(found)) else 1)
