"""Pitches in words and in Hz: MIDI numbers, 69 = A4 = 440 Hz, equal temperament."""

_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def frequency(pitch: float) -> float:
    """In Hz."""
    return 440 * 2 ** ((pitch - 69) / 12)


def pitch_name(pitch: int) -> str:
    """`C4` for 60."""
    return f"{_NAMES[pitch % 12]}{pitch // 12 - 1}"


def register_name(pitch: int) -> str:
    """low (below C4), middle, or high (from C5 on)."""
    return "low" if pitch < 60 else "middle" if pitch < 72 else "high"
