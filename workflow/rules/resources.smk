"""The resources that a job requests: memory, time and a GPU. Rules use them as `**needs("training")`.

The figures were measured with the default configuration on one core of a 2-core machine. A training takes up to 415 MB
(120 more if it compiles the kernels) and less than a minute, a merged model 520 MB, figures 440 MB, and each further
1000 samples 1.5 MB (measured up to 300,000). The largest high-dimensional network takes 715 MB with LM. On a cluster,
the two processes of Snakemake around a job take another 230 MB of its memory. With CUDA, a training takes 1470 MiB of
host memory (torch 2.11 for CUDA 13, H200); up to two gigabytes are reported elsewhere
(github.com/pytorch/pytorch/issues/106511).
"""

MEMORY = {"consolidation": 1000, "training": 1500, "merging": 1500}  # MB, without samples
MEMORY_OF_CUDA = 2000  # additional MB
MEMORY_OF_SAMPLES = 0.002  # MB per sample
MINUTES = {"consolidation": 10, "training": 10, "merging": 30}  # merging includes the control
MINUTES_OF_TRAINING = 2  # for each further training of the same job


def growing(amount):
    """This amount of a resource in the first attempt, twice as much in the second, and so on."""
    return lambda wildcards, attempt: amount * attempt


def needs(kind, trainings=1):
    """The resources of a job of this kind that runs several trainings one after another.

    A GPU is requested only with `device: cuda`; `auto` uses one if available.
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
