"""Encoders of Whisper, from the files that the package openai-whisper downloads."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
import whisper
from torch import Tensor

from training.change import FRAME
from training.data import LENGTH


class WhisperEncoder:
    """One that hears a stretch of a few seconds, and not half a minute of mostly silence."""

    def __init__(self, file: Path) -> None:
        model = whisper.load_model(str(file), device="cpu").eval().requires_grad_(False)
        self._encoder = model.encoder
        self._bands = model.dims.n_mels

    @property
    def places(self) -> int:
        """As of `Encoder`."""
        return len(self._encoder.positional_embedding) - LENGTH // FRAME + 1

    def __call__(self, sounds: Tensor, place: int) -> Tensor:
        """As of `Encoder`."""
        encoder = self._encoder
        # Each alone: the loudest of all it is given is what Whisper measures sound by.
        mel = torch.stack([whisper.audio.log_mel_spectrogram(s, self._bands) for s in sounds])
        rows = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).mT
        rows = rows + encoder.positional_embedding[place : place + rows.shape[1]]
        for block in encoder.blocks:
            rows = block(rows)
        answer: Tensor = encoder.ln_post(rows)
        return answer
