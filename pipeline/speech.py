"""
Where in a track somebody speaks.

Silero VAD's network (MIT) in NumPy, with the weights that the `silero-vad` package carries
in its wheel. Written out here and not called there, because that runs it chunk by chunk in
TorchScript: several times the time, and an import that changes torch's thread count for the
whole process. A test holds this to the package's own answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.masking import hops
from pipeline.torchscript import load_torchscript

Samples = NDArray[np.float32]

RATE = 16_000  # of the network, Hz
CHUNK = 512  # samples of one answer, 32 ms
_CONTEXT = 64  # samples of the chunk before that the network also sees
_PAD = 64  # reflected at a chunk's end
_STRIDE = 128  # of the Fourier transforms
# Not the safetensors beside it: those are the weights of another training.
_NETWORK_FILE = "silero_vad/data/silero_vad.jit"

# Speech begins above the first probability and ends below the second: Silero's own values.
_BEGINS, _ENDS = 0.5, 0.35
# In chunks: fewer than this many in a row are no speech (a single note may sound like one);
# the gate opens this long before the network answers, which takes it one to three chunks,
# and stays open this long after.
_SHORTEST, _AHEAD, _HANG = 3, 4, 10
_FADE = np.hanning(7)[1:-1] / np.hanning(7).sum()
# How far around a moment the network's answers must be known to tell its gate.
_LOOK_BACK = _HANG + _SHORTEST - 1 + len(_FADE) // 2
_LOOK_AHEAD = _AHEAD + _SHORTEST - 1 + len(_FADE) // 2 + 1

# No sample rate in use needs a finer ratio to 16 kHz (11.025 kHz: 640/441).
_FINEST_RATIO = 1000
_FILTER_REACH = 10  # zero crossings each side
_FEWEST_OUTPUTS = 16  # of one matrix product; more are more zeros to multiply by
_EDGE = 0.95  # of half the lower rate


class SpeechGate:
    """
    Says how far a gate for speech stands open, from 0 to 1, at any moment of a track.

    It opens softly before speech begins and closes softly after it ended. Each channel is
    listened to, so that a voice in the centre of 5.1 is heard under music at the sides.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._resampler = Resampler(sample_rate, channels)
        self._network = SpeechNetwork(channels)
        self._waiting = np.zeros((channels, 0), np.float32)
        self._is_speaking = np.zeros(channels, bool)
        # Silence before the start; _first is the chunk number of [0].
        self._speech = np.zeros(_LOOK_BACK + 3, np.float32)
        self._first = -len(self._speech)

    @property
    def known_until(self) -> int:
        """Samples of the track, from its start, for which the gate can be told."""
        chunks = self._first + len(self._speech) - _LOOK_AHEAD
        return int(max(chunks, 0) * CHUNK / self._resampler.ratio)

    def push(self, samples: Samples) -> None:
        """Listen to (channels, n) more samples in [-1, 1]."""
        whole = np.concatenate([self._waiting, self._resampler.push(samples)], axis=1)
        chunks = whole.shape[1] // CHUNK
        self._waiting = whole[:, chunks * CHUNK :]
        if chunks:
            probabilities = self._network.probabilities(whole[:, : chunks * CHUNK])
            answers = [self._hears_speech(column) for column in probabilities.T]
            self._speech = np.concatenate([self._speech, np.array(answers, np.float32)])

    def openness(self, at: NDArray[np.int64]) -> Samples:
        """
        Return the gate, 0 to 1, at rising places `at`, in samples of the track.

        What lies before the first of them is forgotten: the next call must not go back.

        Raises:
            ValueError: a place is not known yet.
        """
        if at[-1] > self.known_until:
            raise ValueError(f"the gate is known until {self.known_until}, not {at[-1]}")
        chunks = at * float(self._resampler.ratio / CHUNK) - 0.5
        gate = _soft(self._speech)
        places = self._first + _LOOK_BACK + np.arange(len(gate))
        opened = np.interp(chunks, places, gate).astype(np.float32)
        self._forget_before(int(np.floor(chunks[0])))
        return opened

    def _hears_speech(self, probabilities: Samples) -> bool:
        limits = np.where(self._is_speaking, _ENDS, _BEGINS)
        self._is_speaking = probabilities > limits
        return bool(self._is_speaking.any())

    def _forget_before(self, chunk: int) -> None:
        spare = chunk - _LOOK_BACK - self._first
        if spare > 0:
            self._speech = self._speech[spare:]
            self._first += spare


def _soft(speech: Samples) -> Samples:
    """Return the gate; its first value belongs to chunk `_LOOK_BACK` of `speech`."""
    runs = hops(speech, _SHORTEST, 1).min(axis=1)
    opened = hops(runs, _HANG + _SHORTEST + _AHEAD, 1).max(axis=1)
    return np.convolve(opened, _FADE, mode="valid").astype(np.float32)


class SpeechNetwork:
    """Silero VAD 6, 16 kHz; several channels side by side, each with its own memory."""

    def __init__(self, channels: int) -> None:
        self._weights = _load_weights()
        self._context = np.zeros((channels, _CONTEXT), np.float32)
        self._hidden = np.zeros((channels, 128), np.float32)
        self._cell = np.zeros((channels, 128), np.float32)

    def probabilities(self, samples: Samples) -> Samples:
        """Return (channels, chunks) probabilities of speech in (channels, chunks * 512)."""
        channels, length = samples.shape
        whole = np.concatenate([self._context, samples], axis=1)
        self._context = whole[:, -_CONTEXT:]
        windows = hops(whole, CHUNK + _CONTEXT, CHUNK)
        features = self._encode(windows.reshape(-1, CHUNK + _CONTEXT))
        gates = features @ self._weights.from_features + self._weights.gate_bias
        steps = gates.reshape(channels, length // CHUNK, -1).swapaxes(0, 1)
        return np.stack([self._decode(step) for step in steps], axis=1)

    def _encode(self, windows: Samples) -> Samples:
        """Return (n, 128) features of (n, 576) samples."""
        w = self._weights
        # Reflected at the end; np.pad alone would take a tenth of the network's time.
        reflected = np.concatenate([windows, windows[:, -2 : -2 - _PAD : -1]], axis=1)
        bins = _matrix_product(hops(reflected, w.transform.shape[0], _STRIDE), w.transform)
        layer = np.hypot(bins[..., : bins.shape[2] // 2], bins[..., bins.shape[2] // 2 :])
        for kernel, bias, stride in zip(w.kernels, w.biases, (1, 2, 2, 1), strict=True):
            layer = _convolved(layer, kernel, stride) + bias
            np.maximum(layer, 0, out=layer)
        return layer[:, 0]

    def _decode(self, from_features: Samples) -> Samples:
        """Return (channels,) probabilities of one chunk and remember its state (an LSTM cell)."""
        w = self._weights
        gates = from_features + self._hidden @ w.from_hidden
        candidate = np.tanh(gates[:, 256:384])
        opened = _sigmoid(gates)  # at once: it is a call's time
        enter, forget, leave = opened[:, :128], opened[:, 128:256], opened[:, 384:]
        self._cell = forget * self._cell + enter * candidate
        self._hidden = leave * np.tanh(self._cell)
        return _sigmoid(np.maximum(self._hidden, 0) @ w.answer + w.answer_bias)


def _convolved(layer: Samples, kernel: Samples, stride: int) -> Samples:
    """Return the (n, time, out) correlation of (n, time, in) with (3 * in, out), zeros around."""
    count, time, channels = layer.shape
    padded = np.zeros((count, time + 2, channels), np.float32)
    padded[:, 1:-1] = layer
    shifted = [padded[:, first : first + time : stride] for first in range(3)]
    return _matrix_product(np.concatenate(shifted, axis=2), kernel)


def _matrix_product(rows: Samples, matrix: Samples) -> Samples:
    """Return (n, time, out) of (n, time, in) by (in, out), in one call."""
    flat: Samples = rows.reshape(-1, rows.shape[2]) @ matrix
    return flat.reshape(*rows.shape[:2], -1)


def _sigmoid(values: Samples) -> Samples:
    # Beyond these it is 0 or 1 anyway, and exp would overflow.
    return np.float32(1) / (np.float32(1) + np.exp(-values.clip(-80, 80)))


@dataclass(frozen=True)
class _Weights:
    transform: Samples  # (256, 258): a Fourier transform, real and imaginary parts
    kernels: tuple[Samples, ...]  # (3 * in, out)
    biases: tuple[Samples, ...]
    from_features: Samples  # (128, 512)
    from_hidden: Samples  # (128, 512)
    gate_bias: Samples  # (512,)
    answer: Samples  # (128,)
    answer_bias: float


@lru_cache(maxsize=1)
def _load_weights() -> _Weights:
    # By its place and not through `import silero_vad`: that sets torch's thread count.
    path = metadata.distribution("silero-vad").locate_file(_NETWORK_FILE)
    network = load_torchscript(Path(str(path)))
    tensors = {name: tensor.numpy() for name, tensor in network._model.state_dict().items()}
    layers = [f"encoder.{number}.reparam_conv" for number in range(4)]
    return _Weights(
        np.ascontiguousarray(tensors["stft.forward_basis_buffer"][:, 0].T),
        tuple(_as_matrix(tensors[f"{name}.weight"]) for name in layers),
        tuple(tensors[f"{name}.bias"] for name in layers),
        np.ascontiguousarray(tensors["decoder.rnn.weight_ih"].T),
        np.ascontiguousarray(tensors["decoder.rnn.weight_hh"].T),
        tensors["decoder.rnn.bias_ih"] + tensors["decoder.rnn.bias_hh"],
        tensors["decoder.decoder.2.weight"].ravel(),
        float(tensors["decoder.decoder.2.bias"][0]),
    )


def _as_matrix(kernel: Samples) -> Samples:
    """Return (width * in, out) of a convolution's (out, in, width)."""
    return np.ascontiguousarray(kernel.transpose(2, 1, 0).reshape(-1, kernel.shape[0]))


class Resampler:
    """
    To the network's rate, block by block; output sample k lies at k / ratio.

    Not scipy.signal's, whose import alone takes 47 MB in every worker. Some outputs at a time
    are one product of the samples around them with a matrix that is mostly zeros, which takes
    a fifth of the time of gathering the samples of each output.

    Attributes:
        ratio: output samples for one of input. Of rates without a ratio of small numbers (32,029
            Hz) the pitch is off by under 2e-4, which no detector hears; but in an hour RATE / rate
            would be wrong by up to half a second.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.ratio = Fraction(RATE, sample_rate).limit_denominator(_FINEST_RATIO)
        up, down = self.ratio.numerator, self.ratio.denominator
        slower = max(up, down)
        # A whole number of outputs, so that the filter's delay is one too.
        half = -(-_FILTER_REACH * slower // down) * down
        # Context in whole periods of the ratio, so that a block always starts on an output.
        context = -(-half // (up * down)) * down
        # One more sample in front, since the longest phase may reach before the context.
        self._buffer = np.zeros((channels, context + 1), np.float32)
        periods = -(-_FEWEST_OUTPUTS // up)
        self._step = periods * down
        # Places, at the raised rate; the filter delays by `half`, and the context is longer.
        places = ((context * up + half) // down + np.arange(periods * up)) * down
        self._matrix = _matrix(_phases(_low_pass(half, _EDGE / slower) * up, up), places)

    def push(self, samples: Samples) -> Samples:
        """Return the (channels, m) samples that (channels, n) more make known; m may be 0."""
        self._buffer = np.concatenate([self._buffer, samples], axis=1)
        if self._buffer.shape[1] < len(self._matrix):
            return self._buffer[:, :0]
        windows = hops(self._buffer, len(self._matrix), self._step)
        self._buffer = self._buffer[:, windows.shape[1] * self._step :]
        return _matrix_product(windows, self._matrix).reshape(len(windows), -1)


def _matrix(phases: Samples, places: NDArray[np.intp]) -> Samples:
    """
    Return (samples, outputs): how much of each sample of a window goes into each output.

    Args:
        phases: of `_phases`.
        places: of the outputs at the raised rate.
    """
    up, length = phases.shape
    starts = places // up - length + 2
    matrix = np.zeros((starts[-1] + length, len(places)), np.float32)
    for output, (start, place) in enumerate(zip(starts, places, strict=True)):
        matrix[start : start + length, output] = phases[place % up]
    return matrix


def _low_pass(half: int, edge: float) -> NDArray[np.float64]:
    """
    Return (2 * half + 1,) taps, a sinc in a Kaiser window, that pass a constant unchanged.

    Args:
        edge: in half sample rates.
    """
    places = np.arange(-half, half + 1)
    taps = np.sinc(edge * places) * np.kaiser(2 * half + 1, 5.0)
    return taps / taps.sum()


def _phases(taps: NDArray[np.float64], up: int) -> Samples:
    """Return (up, n): the taps that meet a sample, in the order of the samples, by place."""
    padded = np.pad(taps, (0, -len(taps) % up))
    return np.ascontiguousarray(padded.reshape(-1, up).T[:, ::-1], np.float32)
