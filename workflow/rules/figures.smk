"""Figures: one job per section draws all figures of its run, from frames, metadata and checkpoints."""


rule figures_section2_1:
    input:
        pipeline.deliverables(OPTIMIZERS),
    output:
        reported(pipeline.figure_reports(OPTIMIZERS)),
        pipeline.figures(OPTIMIZERS, "pdf"),
    log:
        OPTIMIZERS.log(f"{OPTIMIZERS.name}_figures"),
    conda:
        "../../envs/kanbench.yaml"
    resources:
        **needs("consolidation"),
    params:
        run=f"{OPTIMIZERS.section} --timestamp {{timestamp}} --epochs {{epochs}}",
        title=title,
        problems=OWN_PROBLEMS,
    message:
        "Drawing the figures of {params.title}"
    shell:
        "python -m kanbench figures {params.run} {params.problems:q} --placeholders > {log} 2>&1"


use rule figures_section2_1 as figures_section2_2 with:
    input:
        pipeline.deliverables(DENSITY),
    output:
        reported(pipeline.figure_reports(DENSITY)),
        pipeline.figures(DENSITY, "pdf"),
    log:
        DENSITY.log(f"{DENSITY.name}_figures"),
    params:
        run=f"{DENSITY.section} --timestamp {{timestamp}} --epochs {{epochs}}",


use rule figures_section2_1 as figures_section2_3 with:
    input:
        pipeline.deliverables(MERGING),
    output:
        reported(pipeline.figure_reports(MERGING)),
        pipeline.figures(MERGING, "pdf"),
    log:
        MERGING.log(f"{MERGING.name}_figures"),
    params:
        run=f"{MERGING.section} --timestamp {{timestamp}}",
