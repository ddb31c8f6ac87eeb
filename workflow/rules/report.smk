"""The summary page of a run of every section."""


rule report_page:
    input:
        [deliverables(section) for section in SECTIONS],
        [figure_files(section) for section in SECTIONS],
        [tables(section) for section in SECTIONS],
    output:
        PAGE,
    log:
        f"{naming.RESULTS}/logs/report.log",
    conda:
        "../../envs/kanbench.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        timestamp=TIMESTAMP,
        epochs=config["epochs"],
    message:
        "Writing the summary page"
    shell:
        "python -m kanbench report --timestamp {params.timestamp} --epochs {params.epochs} --output {output} > {log} 2>&1"
