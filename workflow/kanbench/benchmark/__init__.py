"""`python -m kanbench benchmark`: our speed against pykan 0.2.8's, and against the limit of the hardware.

Every comparison runs both sides in one process, in turns, on one thread, in one precision, with the same model and the
same samples; what is reported is the ratio of each pair. Nothing here is used by the pipeline.
"""

PARTS = ("pairs", "growth", "fit", "trainings")
