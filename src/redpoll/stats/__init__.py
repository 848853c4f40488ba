"""Mathematics: betting e-processes, latency scores, and how many requests they will want.

Pure numpy. Nothing here reads a clock or draws randomness that was not passed in. Each function
states shapes, units, assumptions, guarantee and source, and has an example that runs.
"""
