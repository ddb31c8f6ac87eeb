"""One job trains one model type on one dataset: sections 2.1 and 2.2."""

for section in ("section2_1", "section2_2"):
    RUN = run_of(section)
    TRAINING = RUN.training("{model_type}", "{dataset_idx}")

    rule:
        name:
            f"train_{section}"
        output:
            checkpoints=RUN.checkpoint_files("{model_type}", "{dataset_idx}"),
            history=RUN.handover(TRAINING),
        log:
            RUN.log(TRAINING),
        benchmark:
            RUN.benchmark(TRAINING)
        conda:
            "../../envs/kanbench.yaml"
        threads: config["threads"]
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            name=TRAINING,
            settings=settings_of(section),
        message:
            "Training {wildcards.model_type} on dataset {wildcards.dataset_idx}, {wildcards.epochs} epochs per grid"
        shell:
            "python -m kanbench train {params.name} --settings {params.settings:q} --threads {threads} > {log} 2>&1"
