"""What a job asks of a scheduler: memory, time and a GPU. Among its resources stands `**needs("training")`.

The figures are of the default configuration on one core of a 2-core machine. There a training takes 370 MB (490 MB if
it compiles the kernels) and under a minute, a merged model 490 MB, and 1000 samples more take 1.5 MB, as measured up
to 300,000 of them. On a cluster, the two processes of Snakemake around a job take another 230 MB of its memory.
"""

MEMORY = {"consolidation": 1000, "training": 1000, "merging": 1500}  # MB, without the samples
MEMORY_OF_SAMPLES = 0.002  # MB for each
MINUTES = {"consolidation": 10, "training": 10, "merging": 30}  # of merging: the control, too


def growing(amount):
    """So much of a resource at the first attempt, twice as much at the second, and so on."""
    return lambda wildcards, attempt: amount * attempt


def needs(kind):
    """The resources of a job of this kind.

    A GPU is asked for only with `device: cuda`; `auto` takes one where it finds it.
    """
    samples = sum(config["data"][f"{sample}_num"] for sample in ("train", "test", "dense"))
    resources = {
        "mem_mb": growing(MEMORY[kind] + int(MEMORY_OF_SAMPLES * samples)),
        "runtime": growing(MINUTES[kind]),
    }
    if kind != "consolidation" and config["device"] == "cuda":
        resources["gpu"] = 1
    return resources
