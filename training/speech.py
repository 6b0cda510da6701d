"""
Train the network that misleads recognisers of speech. README.md tells what with.

    python -m training.speech --sound FOLDER... --whisper FILE... --minutes N
        [--start STATE.pt] [--strengths LOWEST HIGHEST] --out STATE.pt
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from pathlib import Path

import numpy as np
import torch

from training.data import read_recordings
from training.encoders import WhisperEncoder
from training.learning import Learner, draw_examples, draw_place, learning_rate, louder_db
from training.network import Network

_TOLD_EVERY = 100  # steps


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    recordings = read_recordings(arguments.sound)
    if not recordings:
        raise SystemExit(f"There is no speech below {', '.join(map(str, arguments.sound))}.")
    encoders = [WhisperEncoder(file) for file in arguments.whisper]
    network = Network()
    if arguments.start:
        network.load_state_dict(torch.load(arguments.start))
    learner, random = Learner(network), np.random.default_rng()
    found: deque[float] = deque(maxlen=_TOLD_EVERY)
    started, step, share = time.monotonic(), 0, 0.0
    while share < 1:
        louder = 0.0 if arguments.start else louder_db(share)
        lowest, highest = (strength + louder for strength in arguments.strengths)
        encoder = encoders[random.integers(len(encoders))]
        examples = draw_examples(recordings, lowest, highest, random)
        place = draw_place(encoder, random)
        found.append(learner.learn(examples, encoder, place, learning_rate(step, share)))
        step += 1
        seconds = time.monotonic() - started
        share = seconds / (60 * arguments.minutes)
        if step % _TOLD_EVERY == 0 or share >= 1:
            print(
                f"{seconds:.0f} s, step {step}, {lowest:.1f} to {highest:.1f} dB:"
                f" unlike by {np.mean(found):.3f}",
                flush=True,
            )
            torch.save(network.state_dict(), arguments.out)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train against recognisers of speech.")
    add = parser.add_argument
    add("--sound", type=Path, nargs="+", required=True, metavar="FOLDER", help="with speech")
    add("--whisper", type=Path, nargs="+", required=True, metavar="FILE", help="of openai-whisper")
    add("--minutes", type=float, required=True, help="how long to train")
    add("--start", type=Path, metavar="STATE.pt", help="go on from there, at the same strengths")
    add(
        "--strengths", type=float, nargs=2, default=(-4.0, 3.0), metavar=("LOWEST", "HIGHEST"),
        help="dB by which the masking threshold is raised (default: -4 3); without --start they"
        f" come down to these from {louder_db(0):g} dB more",
    )  # fmt: skip
    add("--out", type=Path, required=True, metavar="STATE.pt", help="where the weights go")
    return parser.parse_args()


if __name__ == "__main__":
    main()
