"""Section 2.3: one job per expert; selection, merging and training of the merged model; its control."""

RUN = run_of("section2_3")
EXPERT = RUN.expert("{dataset_idx}", "{depth}", "{k}", "{seed}")
MERGED = RUN.training("merge_kan", "{dataset_idx}")
CONTROL_TRAINING = RUN.training(CONTROL, "{dataset_idx}")
REPLICATE = RUN.replicate("{seed}")
REPLICATE_MERGED = REPLICATE.training("merge_kan", "{dataset_idx}")
REPLICATE_CONTROL = REPLICATE.training(CONTROL, "{dataset_idx}")


rule train_expert:
    output:
        checkpoint=[f"{RUN.expert_checkpoint(EXPERT)}_{file}" for file in naming.CHECKPOINT_FILES],
        history=RUN.record(EXPERT),
    log:
        RUN.log(EXPERT),
    benchmark:
        RUN.benchmark(EXPERT)
    conda:
        "../../envs/kanbench.yaml"
    threads: config["threads"]
    resources:
        **needs("training"),
    params:
        name=EXPERT,
        settings=expert_json,
    message:
        "Training an expert on dataset {wildcards.dataset_idx}: "
        "{wildcards.depth} hidden layers, order {wildcards.k}, seed {wildcards.seed}"
    shell:
        "python -m kanbench train {params.name} --settings {params.settings:q} --threads {threads} > {log} 2>&1"


rule merge_experts:
    input:
        experts=expert_records(RUN, "{dataset_idx}"),
        checkpoints=expert_checkpoints(RUN, "{dataset_idx}"),
    output:
        checkpoints=RUN.checkpoint_files("merge_kan", "{dataset_idx}"),
        history=RUN.record(MERGED),
    log:
        RUN.log(MERGED),
    benchmark:
        RUN.benchmark(MERGED)
    conda:
        "../../envs/kanbench.yaml"
    threads: config["threads"]
    resources:
        **needs("merging"),
    params:
        name=MERGED,
        settings=merge_json,
    message:
        "Merging experts on dataset {wildcards.dataset_idx}, and training the merged model"
    shell:
        "python -m kanbench merge {params.name} --experts {input.experts} --settings {params.settings:q} --threads {threads} > {log} 2>&1"


rule train_control:
    input:
        merged=RUN.record(MERGED),
        experts=expert_records(RUN, "{dataset_idx}"),
    output:
        RUN.record(CONTROL_TRAINING),
    log:
        RUN.log(CONTROL_TRAINING),
    benchmark:
        RUN.benchmark(CONTROL_TRAINING)
    conda:
        "../../envs/kanbench.yaml"
    threads: config["threads"]
    resources:
        **needs("merging"),
    params:
        name=CONTROL_TRAINING,
        settings=control_json,
    message:
        "Training a model of the merged one's size from scratch on dataset {wildcards.dataset_idx}"
    shell:
        "python -m kanbench control {params.name} --merged {input.merged} --experts {input.experts} "
        "--settings {params.settings:q} --threads {threads} > {log} 2>&1"


# With another seed: other experts, and no checkpoints of the merged model.


use rule merge_experts as merge_experts_seeds with:
    input:
        unpack(expert_inputs),
    output:
        history=REPLICATE.record(REPLICATE_MERGED),
    log:
        REPLICATE.log(REPLICATE_MERGED),
    benchmark:
        REPLICATE.benchmark(REPLICATE_MERGED)
    params:
        name=REPLICATE_MERGED,
        settings=merge_json,
    message:
        "Merging experts on dataset {wildcards.dataset_idx}, and training the merged model, seed {wildcards.seed}"


use rule train_control as train_control_seeds with:
    input:
        merged=REPLICATE.record(REPLICATE_MERGED),
        experts=lambda wildcards: expert_inputs(wildcards)["experts"],
    output:
        REPLICATE.record(REPLICATE_CONTROL),
    log:
        REPLICATE.log(REPLICATE_CONTROL),
    benchmark:
        REPLICATE.benchmark(REPLICATE_CONTROL)
    params:
        name=REPLICATE_CONTROL,
        settings=control_json,
    message:
        "Training a model of the merged one's size from scratch on dataset {wildcards.dataset_idx}, seed {wildcards.seed}"
