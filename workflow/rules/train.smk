"""One job trains one model type on one dataset: sections 2.1 and 2.2.


With another seed than the first it is the same command, by the training's name, and leaves no checkpoints.
"""

for section, seed in product(("section2_1", "section2_2"), (None, "{seed}")):
    RUN = run_of(section, seed=seed)
    TRAINING = RUN.training("{model_type}", "{dataset_idx}")

    rule:
        name:
            f"train_{section}" if seed is None else f"train_{section}_seeds"
        output:
            checkpoints=RUN.checkpoint_files("{model_type}", "{dataset_idx}"),
            history=RUN.record(TRAINING),
        log:
            RUN.log(TRAINING),
        benchmark:
            RUN.benchmark(TRAINING)
        conda:
            "../../envs/kanbench.yaml"
        threads: config["threads"]
        resources:
            **needs("training"),
        params:
            name=TRAINING,
            settings=settings_of(section),
        message:
            "Training {wildcards.model_type} on dataset {wildcards.dataset_idx}, {wildcards.epochs} epochs per grid"
            + ("" if seed is None else ", seed {wildcards.seed}")
        shell:
            "python -m kanbench train {params.name} --settings {params.settings:q} --threads {threads} > {log} 2>&1"
