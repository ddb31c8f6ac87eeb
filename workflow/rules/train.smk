"""Sections 2.1 and 2.2: one job trains a model type on a dataset with the first seed.

Another job trains it with all other seeds, because a training is shorter than the start of a job; it uses the same
command, and writes no checkpoints.
"""

OPTIMIZER = OPTIMIZERS.training("{model_type}", "{dataset_idx}")
APPROACH = DENSITY.training("{model_type}", "{dataset_idx}")
OPTIMIZER_SEEDS, APPROACH_SEEDS = (f"{name}_{naming.SEEDS}" for name in (OPTIMIZER, APPROACH))
OTHER_SEEDS = config["seeds"][1:]


rule train_section2_1:
    input:
        source=problem_file,
    output:
        checkpoints=OPTIMIZERS.checkpoint_files("{model_type}", "{dataset_idx}"),
        record=OPTIMIZERS.record(OPTIMIZER),
    log:
        OPTIMIZERS.log(OPTIMIZER),
    benchmark:
        OPTIMIZERS.benchmark(OPTIMIZER)
    conda:
        "../../envs/kanbench.yaml"
    threads: config["threads"]
    resources:
        **needs("training"),
    params:
        name=OPTIMIZER,
        seeds="",
        settings=pipeline.training_settings,
        title=title,
    message:
        "Training {params.title}"
    shell:
        "python -m kanbench train {params.name} {params.seeds} --settings {params.settings:q} --threads {threads} > {log} 2>&1"


use rule train_section2_1 as train_section2_1_seeds with:
    output:
        records=pipeline.replicate_records(OPTIMIZERS, ["{model_type}"], ["{dataset_idx}"]),
    log:
        OPTIMIZERS.log(OPTIMIZER_SEEDS),
    benchmark:
        OPTIMIZERS.benchmark(OPTIMIZER_SEEDS)
    resources:
        **needs("training", len(OTHER_SEEDS)),
    params:
        name=OPTIMIZER,
        seeds=" ".join(["--seeds", *map(str, OTHER_SEEDS)]),


use rule train_section2_1 as train_section2_2 with:
    output:
        checkpoints=DENSITY.checkpoint_files("{model_type}", "{dataset_idx}"),
        record=DENSITY.record(APPROACH),
    log:
        DENSITY.log(APPROACH),
    benchmark:
        DENSITY.benchmark(APPROACH)
    params:
        name=APPROACH,


use rule train_section2_1 as train_section2_2_seeds with:
    output:
        records=pipeline.replicate_records(DENSITY, ["{model_type}"], ["{dataset_idx}"]),
    log:
        DENSITY.log(APPROACH_SEEDS),
    benchmark:
        DENSITY.benchmark(APPROACH_SEEDS)
    resources:
        **needs("training", len(OTHER_SEEDS)),
    params:
        name=APPROACH,
        seeds=" ".join(["--seeds", *map(str, OTHER_SEEDS)]),
