"""The process that runs an embedding model by ONNX Runtime, behind OpenAI's `/v1/embeddings` on a private Unix socket.

Started as `python -m mainstay.platform.engine.embeddings_process` and the only module that imports onnxruntime and
tokenizers. Sentence-transformers models: mean of the last hidden states under the attention mask, scaled to length 1
(Reimers and Gurevych 2019, arXiv:1908.10084).
"""

import asyncio
import base64
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import onnxruntime
import tokenizers
import uvloop

from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.engine.child_setup import CANNOT_LOAD_EXIT_STATUS, ChildConfig, set_up_child
from mainstay.platform.engine.http_server import HttpAnswer, HttpRequest, HttpServer, error_answer

_MAX_BODY_BYTES = 32 * 1024 * 1024
_MAX_INPUTS = 2048
_MAX_CHARACTERS_PER_TOKEN = 100
"""WordPiece takes no word longer than this apart, so what is longer needs no counting to be too long."""
_BATCH_TOKENS = 1024
"""Padded tokens worked on at once, some 100 ms: between two batches another request has its turn."""
_BATCH_INPUTS = 32

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]
Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """What is read of the body; other members are ignored."""

    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"


class Encoder:
    """Texts to vectors. Not for use in several threads at once."""

    def __init__(self, config: ChildConfig) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = config.threads
        options.inter_op_num_threads = 1
        # Threads that wait by spinning would take the processor from the server when there is nothing to do.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(config.model_path, options, providers=["CPUExecutionProvider"])
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._tokenizer = tokenizers.Tokenizer.from_file(config.tokenizer_path or "")
        # Left on, the tokenizer would cut a long text without a word, and pad a short one.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._max_tokens = config.context_tokens

    def tokenize(self, text: str) -> list[int]:
        """Return token ids, those that frame a text included. Raises InvalidRequestError for one that is too long."""
        if len(text) > self._max_tokens * _MAX_CHARACTERS_PER_TOKEN:
            raise self._too_long(f"{len(text)} characters")
        ids: list[int] = self._tokenizer.encode(text).ids
        if not text or not ids:
            raise InvalidRequestError("'input' cannot be or contain an empty string.", param="input")
        if len(ids) > self._max_tokens:
            raise self._too_long(f"{len(ids)} tokens")
        return ids

    def tokenize_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""
        return [self.tokenize(text) for text in texts]

    def encode(self, sequences: Sequence[list[int]]) -> Vectors:
        """Return unit vectors (len(sequences), dimensions)."""
        longest = max(len(each) for each in sequences)
        ids = np.zeros((len(sequences), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(None, {name: feeds[name] for name in self._inputs})[0]
        means = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), dtype=np.float32)

    def _too_long(self, length: str) -> InvalidRequestError:
        return InvalidRequestError(
            f"This model's maximum context length is {self._max_tokens} tokens, however you requested {length} "
            "in one input. Please reduce your prompt.",
            param="input",
            code="context_length_exceeded",
        )


class Embeddings:
    """Answers requests; the numeric work runs in one thread, so that /health answers at any time."""

    def __init__(self, encoder: Encoder, model_name: str) -> None:
        self._encoder = encoder
        self._model_name = model_name
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embeddings")

    async def handle(self, request: HttpRequest) -> HttpAnswer:
        """Answer one HTTP request."""
        match request.method, request.path:
            case "GET", "/health":
                return HttpAnswer(200, b'{"status":"ok"}')
            case "POST", "/v1/embeddings":
                try:
                    return await self._embed(request.body)
                except InvalidRequestError as error:
                    return error_answer(error.status, error.message, param=error.param, code=error.code)
            case _:
                return error_answer(404, f"This engine has no {request.method} {request.path}.")

    async def _embed(self, body: bytes) -> HttpAnswer:
        try:
            wanted = msgspec.json.decode(body, type=EmbeddingsRequest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequestError(f"The body is invalid: {error}.") from error
        texts = [wanted.input] if isinstance(wanted.input, str) else wanted.input
        if not 1 <= len(texts) <= _MAX_INPUTS:
            raise InvalidRequestError(f"'input' needs 1 to {_MAX_INPUTS} texts, not {len(texts)}.", param="input")
        sequences = await self._tokenize(texts)
        vectors = await self._encode(sequences)
        rendered = _render(vectors, as_base64=wanted.encoding_format == "base64")
        tokens = sum(len(each) for each in sequences)
        answer = {
            "object": "list",
            "data": [{"object": "embedding", "index": i, "embedding": each} for i, each in enumerate(rendered)],
            "model": self._model_name,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        return HttpAnswer(200, msgspec.json.encode(answer))

    async def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        loop = asyncio.get_running_loop()
        sequences: list[list[int]] = []
        for start in range(0, len(texts), _BATCH_INPUTS):
            group = texts[start : start + _BATCH_INPUTS]
            sequences += await loop.run_in_executor(self._worker, self._encoder.tokenize_all, group)
        return sequences

    async def _encode(self, sequences: Sequence[list[int]]) -> list[Vector]:
        loop = asyncio.get_running_loop()
        vectors: dict[int, Vector] = {}
        for rows in batches([len(each) for each in sequences]):
            batch = [sequences[row] for row in rows]
            vectors.update(
                zip(rows, await loop.run_in_executor(self._worker, self._encoder.encode, batch), strict=True)
            )
        return [vectors[row] for row in range(len(sequences))]


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the positions of `lengths`, each once, in groups of similar length: little padding, bounded work."""
    group: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda each: lengths[each]):
        if group and (len(group) == _BATCH_INPUTS or (len(group) + 1) * lengths[position] > _BATCH_TOKENS):
            yield group
            group = []
        group.append(position)
    if group:
        yield group


def _render(vectors: Sequence[Vector], *, as_base64: bool) -> list[str] | list[list[float]]:
    if as_base64:
        # Little-endian 32-bit floats, as OpenAI sends them.
        return [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]
    return [vector.tolist() for vector in vectors]


def run() -> None:
    """Load the model, serve until SIGTERM, let running requests end, exit."""
    config = set_up_child()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # One request's texts must not start threads beyond those that the engine was given.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        encoder = Encoder(config)
    except Exception as error:
        # ONNX Runtime and tokenizers raise Exception itself for a file that they cannot read.
        print(f"Cannot load {config.model_path} and {config.tokenizer_path}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(CANNOT_LOAD_EXIT_STATUS) from error
    uvloop.run(_serve(config, encoder))
    # The worker thread may still be in a batch that nobody waits for.
    os._exit(0)


async def _serve(config: ChildConfig, encoder: Encoder) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    model_name = Path(config.model_path).stem
    server = HttpServer(Embeddings(encoder, model_name).handle, max_body_bytes=_MAX_BODY_BYTES)
    await server.listen(Path(config.socket_path))
    await stopping.wait()
    await server.drain(config.drain_seconds)


if __name__ == "__main__":
    run()
