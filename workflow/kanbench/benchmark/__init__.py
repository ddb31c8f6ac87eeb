"""`python -m kanbench benchmark`: our speed compared with pykan 0.2.8 and with the hardware's limit.

Every comparison runs both sides alternately in one process on one thread, with the same model, samples and precision,
and reports the ratio of each pair of measurements. The pipeline does not use this wing.
"""

PARTS = ("pairs", "growth", "fit", "trainings")
