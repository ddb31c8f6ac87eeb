"""Trainings become frames with attrs, and one metadata file for all checkpoints of a run."""

for section, seed in product(("section2_1", "section2_2"), (None, "{seed}")):
    RUN = Run(section, "{timestamp}", "{epochs}", seed=seed)

    rule:
        name:
            f"frame_{section}" if seed is None else f"frame_{section}_seeds"
        input:
            trainings=handovers(RUN, ["{model_type}"]),
            reference=handovers(RUN, [SECTIONS[section].reference]),
        output:
            RUN.frame_files("{model_type}"),
        log:
            RUN.log(f"{RUN.name}_{{model_type}}"),
        conda:
            "../../envs/kanbench.yaml"
        resources:
            mem_mb=500,
            runtime=5,
        message:
            "Consolidating the trainings of {wildcards.model_type}"
        shell:
            "python -m kanbench frame {output} --trainings {input.trainings} --reference {input.reference} > {log} 2>&1"


rule frame_section2_3:
    input:
        unpack(merge_frame_inputs),
    output:
        Run("section2_3", "{timestamp}").frame_files("{frame}"),
    log:
        Run("section2_3", "{timestamp}").log("section2_3_{timestamp}_{frame}"),
    conda:
        "../../envs/kanbench.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        n_selected=config["merge_kan"]["n_selected"],
        trainings=merge_frame_options,
    message:
        "Consolidating the trainings of experts and merged models: {wildcards.frame}"
    shell:
        "python -m kanbench merge-frame {output} --n-selected {params.n_selected} {params.trainings} > {log} 2>&1"


use rule frame_section2_3 as frame_section2_3_seeds with:
    output:
        Run("section2_3", "{timestamp}", seed="{seed}").frame_files("{frame}"),
    log:
        Run("section2_3", "{timestamp}").log("section2_3_{timestamp}_s{seed}_{frame}"),


for section in SECTIONS:
    RUN = Run(section, "{timestamp}", None if section in naming.EPOCHLESS else "{epochs}")

    rule:
        name:
            f"metadata_{section}"
        input:
            handovers(RUN, SECTIONS[section].model_types),
        output:
            RUN.checkpoint_metadata(),
        log:
            RUN.log(f"{RUN.name}_{naming.CHECKPOINT_METADATA}"),
        conda:
            "../../envs/kanbench.yaml"
        resources:
            mem_mb=500,
            runtime=5,
        message:
            "Consolidating the metadata of all checkpoints"
        shell:
            "python -m kanbench metadata {output} --trainings {input} > {log} 2>&1"
