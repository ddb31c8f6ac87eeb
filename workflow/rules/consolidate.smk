"""Trainings become frames with attrs, and one metadata file for all checkpoints of a run."""


rule frame_section2_1:
    input:
        trainings=histories("section2_1", ["{model_type}"]),
        reference=histories("section2_1", [SECTIONS["section2_1"].reference]),
    output:
        [RUN.frame("{model_type}", suffix) for suffix in naming.FRAME_FORMATS],
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


rule metadata_section2_1:
    input:
        histories("section2_1", SECTIONS["section2_1"].model_types),
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
