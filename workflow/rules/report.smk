"""The summary page of one run of each section."""


rule report_page:
    input:
        [pipeline.results(section) for section in config["sections"]],
    output:
        pipeline.page,
    log:
        f"{naming.RESULTS}/logs/report.log",
    conda:
        "../../envs/kanbench.yaml"
    resources:
        **needs("consolidation"),
    params:
        sections=[pipeline.run(section).section for section in config["sections"]],
        timestamp=pipeline.timestamp,
        epochs=config["epochs"],
        problems=OWN_PROBLEMS,
    message:
        "Writing the summary page"
    shell:
        "python -m kanbench report {params.sections} --timestamp {params.timestamp} --epochs {params.epochs} {params.problems:q} --output {output} > {log} 2>&1"
