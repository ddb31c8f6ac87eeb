"""Consolidate training records into frames and one file of checkpoint metadata per run.

In Sections 2.1 and 2.2, one job makes the frames of a model type for all replicates.
"""


rule frame_section2_1:
    input:
        trainings=pipeline.records(OPTIMIZERS, ["{model_type}"]),
        reference=pipeline.records(OPTIMIZERS, [OPTIMIZERS.kind.reference]),
    output:
        OPTIMIZERS.frame_files("{model_type}"),
    log:
        OPTIMIZERS.log(f"{OPTIMIZERS.name}_{{model_type}}"),
    conda:
        "../../envs/kanbench.yaml"
    resources:
        **needs("consolidation"),
    params:
        title=title,
    message:
        "Building the frame of {params.title}"
    shell:
        "python -m kanbench frame {output} --trainings {input.trainings} --reference {input.reference} > {log} 2>&1"


use rule frame_section2_1 as frame_section2_1_seeds with:
    input:
        trainings=pipeline.replicate_records(OPTIMIZERS, ["{model_type}"]),
        reference=pipeline.replicate_records(OPTIMIZERS, [OPTIMIZERS.kind.reference]),
    output:
        pipeline.replicate_frames(OPTIMIZERS, ["{model_type}"]),
    log:
        OPTIMIZERS.log(f"{OPTIMIZERS.name}_{naming.SEEDS}_{{model_type}}"),


use rule frame_section2_1 as frame_section2_2 with:
    input:
        trainings=pipeline.records(DENSITY, ["{model_type}"]),
        reference=pipeline.records(DENSITY, [DENSITY.kind.reference]),
    output:
        DENSITY.frame_files("{model_type}"),
    log:
        DENSITY.log(f"{DENSITY.name}_{{model_type}}"),


use rule frame_section2_1 as frame_section2_2_seeds with:
    input:
        trainings=pipeline.replicate_records(DENSITY, ["{model_type}"]),
        reference=pipeline.replicate_records(DENSITY, [DENSITY.kind.reference]),
    output:
        pipeline.replicate_frames(DENSITY, ["{model_type}"]),
    log:
        DENSITY.log(f"{DENSITY.name}_{naming.SEEDS}_{{model_type}}"),


rule frame_section2_3:
    input:
        unpack(pipeline.merge_frame_inputs),
    output:
        MERGING.frame_files("{frame}"),
    log:
        MERGING.log(f"{MERGING.name}_{{frame}}"),
    conda:
        "../../envs/kanbench.yaml"
    resources:
        **needs("consolidation"),
    params:
        n_selected=config["merge_kan"]["n_selected"],
        trainings=merge_frame_options,
        title=title,
    message:
        "Building the frame of {params.title}"
    shell:
        "python -m kanbench merge-frame {output} --n-selected {params.n_selected} {params.trainings} > {log} 2>&1"


use rule frame_section2_3 as frame_section2_3_seeds with:
    output:
        MERGING_SEEDS.frame_files("{frame}"),
    log:
        MERGING_SEEDS.log(f"{MERGING_SEEDS.name}_{{frame}}"),


rule metadata_section2_1:
    input:
        pipeline.records(OPTIMIZERS, pipeline.model_types(OPTIMIZERS)),
    output:
        OPTIMIZERS.checkpoint_metadata(),
    log:
        OPTIMIZERS.log(f"{OPTIMIZERS.name}_{naming.CHECKPOINT_METADATA}"),
    conda:
        "../../envs/kanbench.yaml"
    resources:
        **needs("consolidation"),
    params:
        title=title,
    message:
        "Collecting the metadata of all checkpoints of {params.title}"
    shell:
        "python -m kanbench metadata {output} --trainings {input} > {log} 2>&1"


use rule metadata_section2_1 as metadata_section2_2 with:
    input:
        pipeline.records(DENSITY, pipeline.model_types(DENSITY)),
    output:
        DENSITY.checkpoint_metadata(),
    log:
        DENSITY.log(f"{DENSITY.name}_{naming.CHECKPOINT_METADATA}"),


use rule metadata_section2_1 as metadata_section2_3 with:
    input:
        pipeline.records(MERGING, pipeline.model_types(MERGING)),
    output:
        MERGING.checkpoint_metadata(),
    log:
        MERGING.log(f"{MERGING.name}_{naming.CHECKPOINT_METADATA}"),
