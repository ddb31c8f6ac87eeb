"""What a job asks of a scheduler: memory, time and a GPU. Among its resources stands `**needs("training")`.

The figures are of the default configuration on one core of a 2-core machine. There a training takes up to 415 MB (120
more if it compiles the kernels) and under a minute, a merged model 520 MB, figures 440 MB, and 1000 samples more take
1.5 MB, as measured up to 300,000 of them. The largest of the high-dimensional networks takes 715 MB with LM. On a
cluster, the two processes of Snakemake around a job take another 230 MB of its memory. With CUDA a training takes 1470
MiB of the host's memory (torch 2.11 for CUDA 13, an H200); up to two gigabytes are reported for others
(github.com/pytorch/pytorch/issues/106511).
"""

MEMORY = {"consolidation": 1000, "training": 1500, "merging": 1500}  # MB, without the samples
MEMORY_OF_CUDA = 2000  # MB more
MEMORY_OF_SAMPLES = 0.002  # MB for each
MINUTES = {"consolidation": 10, "training": 10, "merging": 30}  # of merging: the control, too
MINUTES_OF_TRAINING = 2  # more for every further training of the same job


def growing(amount):
    """So much of a resource at the first attempt, twice as much at the second, and so on."""
    return lambda wildcards, attempt: amount * attempt


def needs(kind, trainings=1):
    """The resources of a job of this kind, with so many trainings one after another.

    A GPU is asked for only with `device: cuda`; `auto` takes one where it finds it.
    """
    on_gpu = kind != "consolidation" and config["device"] == "cuda"
    samples = sum(config["data"][f"{sample}_num"] for sample in ("train", "test", "dense"))
    resources = {
        "mem_mb": growing(MEMORY[kind] + MEMORY_OF_CUDA * on_gpu + int(MEMORY_OF_SAMPLES * samples)),
        "runtime": growing(MINUTES[kind] + MINUTES_OF_TRAINING * (trainings - 1)),
    }
    if on_gpu:
        resources["gpu"] = 1
    return resources
