"""Tables: one job per section writes all tables of its run."""


rule tables_section2_1:
    input:
        pipeline.table_inputs(OPTIMIZERS),
    output:
        reported(pipeline.table_reports(OPTIMIZERS)),
        pipeline.tables(OPTIMIZERS, "csv", "tex", "md"),
    log:
        OPTIMIZERS.log(f"{OPTIMIZERS.name}_{naming.TABLES}"),
    conda:
        "../../envs/kanbench.yaml"
    resources:
        **needs("consolidation"),
    params:
        section=OPTIMIZERS.section,
        epochs="--epochs {epochs}",
        title=title,
    message:
        "Writing the tables of {params.title}"
    shell:
        "python -m kanbench tables {params.section} --timestamp {wildcards.timestamp} {params.epochs} > {log} 2>&1"


use rule tables_section2_1 as tables_section2_2 with:
    input:
        pipeline.table_inputs(DENSITY),
    output:
        reported(pipeline.table_reports(DENSITY)),
        pipeline.tables(DENSITY, "csv", "tex", "md"),
    log:
        DENSITY.log(f"{DENSITY.name}_{naming.TABLES}"),
    params:
        section=DENSITY.section,
        epochs="--epochs {epochs}",


use rule tables_section2_1 as tables_section2_3 with:
    input:
        pipeline.table_inputs(MERGING),
    output:
        reported(pipeline.table_reports(MERGING)),
        pipeline.tables(MERGING, "csv", "tex", "md"),
    log:
        MERGING.log(f"{MERGING.name}_{naming.TABLES}"),
    params:
        section=MERGING.section,
        epochs="",
