"""All comparisons that need no trained model: `python -m benchmarks`. Those that do take a run: `python -m benchmarks.cache RUN`."""

from contextlib import suppress

from benchmarks import forward, loop, startup

with suppress(ImportError):  # diffusers imports torchaudio where it is installed, whose compiled part may not suit this torch
    from anylatent_audio.torchaudio_fallback import load

    load()

for title, main in (("Start-up", lambda: startup.main(7)), ("Sampling loop", lambda: loop.main(7)), ("Forward", lambda: forward.main(5))):
    print(f"\n== {title}")
    main()
