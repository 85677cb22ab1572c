"""The machine that the model runs on: its processor, threads and memory."""
