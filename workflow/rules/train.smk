"""Sections 2.1 and 2.2: one job trains one model type on one dataset.

With another seed than the first it is the same command, by the training's name, and leaves no checkpoints.
"""

OPTIMIZER = OPTIMIZERS.training("{model_type}", "{dataset_idx}")
OPTIMIZER_SEEDS = OPTIMIZERS_SEEDS.training("{model_type}", "{dataset_idx}")
APPROACH = DENSITY.training("{model_type}", "{dataset_idx}")
APPROACH_SEEDS = DENSITY_SEEDS.training("{model_type}", "{dataset_idx}")


rule train_section2_1:
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
        settings=pipeline.training_settings,
    message:
        "Training {wildcards.model_type} on dataset {wildcards.dataset_idx}: {params.name}"
    shell:
        "python -m kanbench train {params.name} --settings {params.settings:q} --threads {threads} > {log} 2>&1"


use rule train_section2_1 as train_section2_1_seeds with:
    output:
        record=OPTIMIZERS_SEEDS.record(OPTIMIZER_SEEDS),
    log:
        OPTIMIZERS_SEEDS.log(OPTIMIZER_SEEDS),
    benchmark:
        OPTIMIZERS_SEEDS.benchmark(OPTIMIZER_SEEDS)
    params:
        name=OPTIMIZER_SEEDS,


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
        record=DENSITY_SEEDS.record(APPROACH_SEEDS),
    log:
        DENSITY_SEEDS.log(APPROACH_SEEDS),
    benchmark:
        DENSITY_SEEDS.benchmark(APPROACH_SEEDS)
    params:
        name=APPROACH_SEEDS,
