"""Training as a generator: it yields what happened; logs, checkpoints, previews and progress bars only consume it."""
