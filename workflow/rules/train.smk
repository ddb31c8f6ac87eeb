"""One job trains one model type on one dataset."""

RUN = Run("section2_1", "{timestamp}", "{epochs}")
TRAINING = RUN.training("{model_type}", "{dataset_idx}")


rule train_section2_1:
    output:
        checkpoints=RUN.checkpoint_files("{model_type}", "{dataset_idx}"),
        history=RUN.history("{model_type}", "{dataset_idx}"),
    log:
        RUN.log(TRAINING),
    benchmark:
        RUN.benchmark("{model_type}", "{dataset_idx}")
    conda:
        "../../envs/kanbench.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        name=TRAINING,
        settings=settings_json,
    message:
        "Training {wildcards.model_type} on dataset {wildcards.dataset_idx}, {wildcards.epochs} epochs per grid"
    shell:
        "python -m kanbench train {params.name} --settings {params.settings:q} > {log} 2>&1"
