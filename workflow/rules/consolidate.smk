"""Trainings become frames with attrs, and one metadata file for all checkpoints of a run."""

for section, seed in product(("section2_1", "section2_2"), (None, "{seed}")):
    RUN = run_of(section, seed=seed)

    rule:
        name:
            f"frame_{section}" if seed is None else f"frame_{section}_seeds"
        input:
            trainings=records(RUN, ["{model_type}"]),
            reference=records(RUN, [SECTIONS[section].reference]),
        output:
            RUN.frame_files("{model_type}"),
        log:
            RUN.log(f"{RUN.name}_{{model_type}}"),
        conda:
            "../../envs/kanbench.yaml"
        resources:
            **needs("consolidation"),
        message:
            "Consolidating the trainings of {wildcards.model_type}"
        shell:
            "python -m kanbench frame {output} --trainings {input.trainings} --reference {input.reference} > {log} 2>&1"


RUN = run_of("section2_3")


rule frame_section2_3:
    input:
        unpack(merge_frame_inputs),
    output:
        RUN.frame_files("{frame}"),
    log:
        RUN.log(f"{RUN.name}_{{frame}}"),
    conda:
        "../../envs/kanbench.yaml"
    resources:
        **needs("consolidation"),
    params:
        n_selected=config["merge_kan"]["n_selected"],
        trainings=merge_frame_options,
    message:
        "Consolidating the trainings of experts and merged models: {wildcards.frame}"
    shell:
        "python -m kanbench merge-frame {output} --n-selected {params.n_selected} {params.trainings} > {log} 2>&1"


use rule frame_section2_3 as frame_section2_3_seeds with:
    output:
        RUN.replicate("{seed}").frame_files("{frame}"),
    log:
        RUN.log(f"{RUN.replicate('{seed}').name}_{{frame}}"),


for section in SECTIONS:
    RUN = run_of(section)

    rule:
        name:
            f"metadata_{section}"
        input:
            records(RUN, model_types(config, section)),
        output:
            RUN.checkpoint_metadata(),
        log:
            RUN.log(f"{RUN.name}_{naming.CHECKPOINT_METADATA}"),
        conda:
            "../../envs/kanbench.yaml"
        resources:
            **needs("consolidation"),
        message:
            "Consolidating the metadata of all checkpoints"
        shell:
            "python -m kanbench metadata {output} --trainings {input} > {log} 2>&1"
