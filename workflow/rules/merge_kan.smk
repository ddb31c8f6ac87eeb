"""Section 2.3: training of experts; selection, merging and training of the merged model; its control.

One job trains the experts of one seed on a dataset one after another, because each takes little longer than starting a
job. Replicates have their own experts, and no checkpoints of the merged model. These jobs have priority, because
experts, merged model and control form the longest chain of jobs.
"""

EXPERTS = pipeline.experts_of_seed(MERGING)
EXPERTS_JOB = MERGING.experts_job("{dataset_idx}", "{seed}")
MERGED = MERGING.training("merge_kan", "{dataset_idx}")
MERGED_SEEDS = MERGING_SEEDS.training("merge_kan", "{dataset_idx}")
CONTROLLED = MERGING.training(CONTROL, "{dataset_idx}")
CONTROLLED_SEEDS = MERGING_SEEDS.training(CONTROL, "{dataset_idx}")


rule train_expert:
    input:
        source=problem_file,
    output:
        checkpoints=[
            f"{MERGING.expert_checkpoint(name)}_{file}" for name in EXPERTS for file in naming.CHECKPOINT_FILES
        ],
        records=[MERGING.record(name) for name in EXPERTS],
    log:
        MERGING.log(EXPERTS_JOB),
    benchmark:
        MERGING.benchmark(EXPERTS_JOB)
    priority: 1
    conda:
        "../../envs/kanbench.yaml"
    threads: config["threads"]
    resources:
        **needs("training", len(EXPERTS)),
    params:
        names=EXPERTS,
        settings=pipeline.expert_settings,
        title=title,
    message:
        "Training {params.title}"
    shell:
        "python -m kanbench train {params.names} --settings {params.settings:q} --threads {threads} > {log} 2>&1"


rule merge_experts:
    input:
        unpack(pipeline.merge_inputs),
        source=problem_file,
    output:
        checkpoints=MERGING.checkpoint_files("merge_kan", "{dataset_idx}"),
        record=MERGING.record(MERGED),
    log:
        MERGING.log(MERGED),
    benchmark:
        MERGING.benchmark(MERGED)
    priority: 1
    conda:
        "../../envs/kanbench.yaml"
    threads: config["threads"]
    resources:
        **needs("merging"),
    params:
        name=MERGED,
        settings=pipeline.merge_settings,
        title=title,
    message:
        "Merging experts, and training {params.title}"
    shell:
        "python -m kanbench merge {params.name} --experts {input.experts} --settings {params.settings:q} --threads {threads} > {log} 2>&1"


use rule merge_experts as merge_experts_seeds with:
    output:
        record=MERGING_SEEDS.record(MERGED_SEEDS),
    log:
        MERGING_SEEDS.log(MERGED_SEEDS),
    benchmark:
        MERGING_SEEDS.benchmark(MERGED_SEEDS)
    params:
        name=MERGED_SEEDS,


rule train_control:
    input:
        unpack(pipeline.control_inputs),
        source=problem_file,
    output:
        record=MERGING.record(CONTROLLED),
    log:
        MERGING.log(CONTROLLED),
    benchmark:
        MERGING.benchmark(CONTROLLED)
    priority: 1
    conda:
        "../../envs/kanbench.yaml"
    threads: config["threads"]
    resources:
        **needs("merging"),
    params:
        name=CONTROLLED,
        settings=pipeline.control_settings,
        title=title,
    message:
        "Training {params.title}, a model as large as the merged one, from scratch"
    shell:
        "python -m kanbench control {params.name} --merged {input.merged} --experts {input.experts} "
        "--settings {params.settings:q} --threads {threads} > {log} 2>&1"


use rule train_control as train_control_seeds with:
    output:
        record=MERGING_SEEDS.record(CONTROLLED_SEEDS),
    log:
        MERGING_SEEDS.log(CONTROLLED_SEEDS),
    benchmark:
        MERGING_SEEDS.benchmark(CONTROLLED_SEEDS)
    params:
        name=CONTROLLED_SEEDS,
