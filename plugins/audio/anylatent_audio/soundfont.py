"""Reads a SoundFont 2 file and plays single notes of it (SoundFont Technical Specification 2.04, 1998).

What it plays: key and velocity ranges, tuning, loops, the volume envelope, attenuation. What it leaves out: filters,
modulation, low-frequency oscillators, panning, reverberation. Notes are therefore somewhat brighter than a synthesiser's.
"""

import hashlib
import importlib.util
import itertools
import struct
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy

# Generators of the specification, section 8.1.2.
_START, _END, _LOOP_START, _LOOP_END, _START_COARSE, _END_COARSE = 0, 1, 2, 3, 4, 12
_DELAY, _ATTACK, _HOLD, _DECAY, _SUSTAIN, _RELEASE = 33, 34, 35, 36, 37, 38
_INSTRUMENT, _KEYS, _VELOCITIES, _LOOP_START_COARSE, _ATTENUATION, _LOOP_END_COARSE = 41, 43, 44, 45, 48, 50
_COARSE_TUNE, _FINE_TUNE, _SAMPLE, _LOOPS, _SCALE, _ROOT = 51, 52, 53, 54, 56, 58
_DEFAULTS = {_DELAY: -12000, _ATTACK: -12000, _HOLD: -12000, _DECAY: -12000, _RELEASE: -12000, _SCALE: 100, _ROOT: -1}
_EVERYTHING = 127 << 8
_RANGES = (_KEYS, _VELOCITIES)
_NOT_ADDED = {
    *(_SAMPLE, _LOOPS, _ROOT, _START, _END, _LOOP_START, _LOOP_END),
    *(_START_COARSE, _END_COARSE, _LOOP_START_COARSE, _LOOP_END_COARSE),
}
"""Generators that only an instrument may set: a preset's are ignored (section 8.5)."""


@dataclass(frozen=True)
class _Header:
    """A sample: where its numbers lie, in the pool of all."""

    start: int
    end: int
    loop_start: int
    loop_end: int
    rate: int
    key: int
    correction: int
    """In cents."""


@dataclass(frozen=True)
class _Zone:
    """What sounds for a range of keys and velocities: a sample and its generators."""

    header: _Header
    numbers: dict[int, int] = field(default_factory=dict)

    def get(self, generator: int) -> int:
        return self.numbers.get(generator, _DEFAULTS.get(generator, 0))

    def plays(self, key: int, velocity: int) -> bool:
        return all(
            (span & 255) <= value <= (span >> 8)
            for span, value in zip((self.numbers.get(r, _EVERYTHING) for r in _RANGES), (key, velocity), strict=True)
        )


class SoundFont:
    """The melodic presets of a .sf2 file. Errors: `ValueError` naming the file if it is not one."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self.path, self.fingerprint = path, hashlib.sha256(content).hexdigest()
        try:
            chunks = _chunks(content)
            self.pool = numpy.frombuffer(chunks[b"smpl"], "<i2").astype(numpy.float32) / 32768
            self._parse(chunks)
        except (struct.error, KeyError, IndexError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as a SoundFont 2 file (.sf2): {error or type(error).__name__}") from error

    def _parse(self, chunks: dict[bytes, bytes]) -> None:
        headers = [_Header(s, e, a, b, r, k, c) for _, s, e, a, b, r, k, c, _, _ in struct.iter_unpack("<20s5IBbHH", chunks[b"shdr"])]
        instruments = [_layers(chunks, b"ibag", b"igen", first, last, _SAMPLE) for first, last in _spans(chunks[b"inst"], "<20sH", 1)]
        self._presets: dict[int, list[tuple[dict[int, int], list[dict[int, int]]]]] = {}
        presets = list(struct.iter_unpack("<20sHHHIII", chunks[b"phdr"]))
        for (_, program, bank, *_), (first, last) in zip(presets, _spans(chunks[b"phdr"], "<20sHHHIII", 3), strict=False):
            if bank == 0:
                layers = _layers(chunks, b"pbag", b"pgen", first, last, _INSTRUMENT)
                self._presets[program] = [(layer, instruments[layer[_INSTRUMENT]]) for layer in layers]
        self._headers = headers

    def zones(self, program: int, key: int, velocity: int) -> list[_Zone]:
        """What sounds together for a note. Errors: `ValueError` if the file has no such program, or nothing for the note."""
        if program not in self._presets:
            raise ValueError(f"{self.path} has no General MIDI program {program}; it has {sorted(self._presets)}")
        found = []
        for layer, inner in self._presets[program]:
            if not _Zone(self._headers[0], layer).plays(key, velocity):
                continue
            for numbers in inner:
                zone = _Zone(self._headers[numbers[_SAMPLE]], _with_layer(numbers, layer))
                if _Zone(zone.header, numbers).plays(key, velocity):
                    found.append(zone)
        if not found:
            raise ValueError(f"{self.path} has nothing to play for program {program}, key {key}, velocity {velocity}")
        return found

    def note(self, program: int, key: int, velocity: int, held: float, seconds: float, rate: int) -> numpy.ndarray:
        """A note, held for `held` of `seconds`: float32 `(T,)` at `rate`, not limited in level."""
        length = round(seconds * rate)
        out = numpy.zeros(length, numpy.float32)
        for zone in self.zones(program, key, velocity):
            out += self._voice(zone, key, velocity, held, length, rate)
        return out

    def _voice(self, zone: _Zone, key: int, velocity: int, held: float, length: int, rate: int) -> numpy.ndarray:
        root = zone.get(_ROOT) if zone.get(_ROOT) >= 0 else zone.header.key
        cents = (key - root) * zone.get(_SCALE) + 100 * zone.get(_COARSE_TUNE) + zone.get(_FINE_TUNE) + zone.header.correction
        ratio = zone.header.rate * 2 ** (cents / 1200) / rate
        # Velocity by the square, as the default modulator of section 8.4.1 does within a decibel; attenuation in 1/10 dB.
        gain = (velocity / 127) ** 2 * 10 ** (-max(0, zone.get(_ATTENUATION)) * 0.4 / 200)
        return gain * self._played(zone, ratio, length) * _envelope(zone, held, length, rate)

    def _played(self, zone: _Zone, ratio: float, length: int) -> numpy.ndarray:
        """The sample at `ratio` of its speed, its loop repeated as long as needed."""
        head, loop = self._parts(zone)
        needed = int(length * ratio) + 2
        if loop is not None and needed > len(head):
            head = numpy.concatenate((head, numpy.tile(loop, -(-(needed - len(head)) // len(loop)))))
        source = head[:needed]
        if ratio > 1:
            source = _low_passed(source, 1 / ratio)
        return numpy.interp(numpy.arange(length) * ratio, numpy.arange(len(source)), source, right=0).astype(numpy.float32)

    def _parts(self, zone: _Zone) -> tuple[numpy.ndarray, numpy.ndarray | None]:
        """A sample up to the end of its loop, and the loop (None: it plays once)."""
        header, get = zone.header, zone.get
        start = header.start + get(_START) + 32768 * get(_START_COARSE)
        end = header.end + get(_END) + 32768 * get(_END_COARSE)
        first = header.loop_start + get(_LOOP_START) + 32768 * get(_LOOP_START_COARSE)
        last = header.loop_end + get(_LOOP_END) + 32768 * get(_LOOP_END_COARSE)
        if get(_LOOPS) & 1 and start <= first < last <= len(self.pool):
            return self.pool[start:last], self.pool[first:last]
        return self.pool[start:end], None


@cache
def soundfont(path: Path) -> SoundFont:
    """The file, read once. Errors: `FileNotFoundError`; `ValueError`."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no SoundFont file {path}: give the path of a .sf2 file, or leave `soundfont` empty")
    return SoundFont(path)


@cache
def default_soundfont() -> Path:
    """TimGM6mb.sf2 (Tim Brechbill; GPL-2), which lies in the package pretty_midi. Nothing of that package is imported."""
    spec = importlib.util.find_spec("pretty_midi")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the default SoundFont comes with the package pretty_midi, which is missing: pip install pretty_midi")
    return Path(spec.origin).parent / "TimGM6mb.sf2"


def _chunks(content: bytes) -> dict[bytes, bytes]:
    """The chunks of a RIFF sfbk file by name, those inside of lists too."""
    if content[:4] != b"RIFF" or content[8:12] != b"sfbk":
        raise ValueError("it does not begin as one")
    found: dict[bytes, bytes] = {}
    place = 12
    while place + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, place)
        if name == b"LIST":
            place += 12
            continue
        if place + 8 + size > len(content):
            raise ValueError(f"it is cut off in chunk {name.decode('latin1')}")
        found[name] = content[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    return found


def _spans(records: bytes, form: str, column: int) -> list[tuple[int, int]]:
    """First and last bag of each record; the last record only marks the end."""
    firsts = [record[column] for record in struct.iter_unpack(form, records)]
    return list(itertools.pairwise(firsts))


def _layers(chunks: dict[bytes, bytes], bags: bytes, generators: bytes, first: int, last: int, target: int) -> list[dict[int, int]]:
    """Generators of the zones `first` … `last`, each with those of the global zone, which names no target (section 7.3)."""
    starts = [start for start, _ in struct.iter_unpack("<HH", chunks[bags])]
    amounts = list(struct.iter_unpack("<HH", chunks[generators]))
    shared: dict[int, int] = {}
    zones = []
    for bag in range(first, last):
        zone = {name: _signed(name, amount) for name, amount in amounts[starts[bag] : starts[bag + 1]]}
        if target in zone:
            zones.append(shared | zone)
        elif bag == first:
            shared = zone
    return zones


def _signed(generator: int, amount: int) -> int:
    unsigned = generator in (*_RANGES, _SAMPLE, _INSTRUMENT)
    return amount if unsigned or amount < 32768 else amount - 65536


def _with_layer(numbers: dict[int, int], layer: dict[int, int]) -> dict[int, int]:
    """An instrument's generators with a preset's added to them (section 9.4)."""
    added = {name: amount for name, amount in layer.items() if name not in _NOT_ADDED | {*_RANGES, _INSTRUMENT}}
    return numbers | {name: numbers.get(name, _DEFAULTS.get(name, 0)) + amount for name, amount in added.items()}


def _envelope(zone: _Zone, held: float, length: int, rate: int) -> numpy.ndarray:
    """The volume envelope: linear attack; decay to the sustain level and release linear in decibels (section 8.1.2)."""
    delay, attack, hold, decay, release = (2 ** (zone.get(g) / 1200) for g in (_DELAY, _ATTACK, _HOLD, _DECAY, _RELEASE))
    sustain = min(max(zone.get(_SUSTAIN), 0), 1000) / 10
    t = numpy.arange(length) / rate

    def level(t: numpy.ndarray) -> numpy.ndarray:
        """Decibels below the peak after the attack: `decay` seconds would take it down by 100."""
        return numpy.minimum(sustain, 100 * numpy.maximum(0, t - delay - attack - hold) / decay)

    down = level(numpy.minimum(t, held)) + 100 * numpy.maximum(0, t - held) / max(release, 0.01)
    rise = numpy.clip((t - delay) / max(attack, 0.001), 0, 1)
    return rise * 10 ** (-numpy.minimum(down, 100) / 20)


def _low_passed(source: numpy.ndarray, cutoff: float) -> numpy.ndarray:
    """Without what lies above `cutoff` of the highest frequency: it would fold back (windowed sinc, 32 zero crossings)."""
    reach = int(16 / cutoff)
    n = numpy.arange(-reach, reach + 1)
    kernel = cutoff * numpy.sinc(cutoff * n) * numpy.hanning(len(n))
    return numpy.convolve(source, (kernel / kernel.sum()).astype(numpy.float32), "same") if len(source) else source
