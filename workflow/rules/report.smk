"""The summary page of a run of every section."""


rule report_page:
    input:
        [deliverables(section) for section in config["sections"]],
        [figure_files(section) for section in config["sections"]],
        [tables(section) for section in config["sections"]],
    output:
        PAGE,
    log:
        f"{naming.RESULTS}/logs/report.log",
    conda:
        "../../envs/kanbench.yaml"
    resources:
        **needs("consolidation"),
    params:
        sections=[current_run(section).section for section in config["sections"]],
        timestamp=TIMESTAMP,
        epochs=config["epochs"],
    message:
        "Writing the summary page"
    shell:
        "python -m kanbench report {params.sections} --timestamp {params.timestamp} --epochs {params.epochs} --output {output} > {log} 2>&1"
