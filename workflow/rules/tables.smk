"""Tables of a run, and what follows from its data: one job per section."""

for section in SECTIONS:
    RUN = run_of(section)
    FRAMES = SECTIONS[section].frame_names or model_types(config, section)

    rule:
        name:
            f"tables_{section}"
        input:
            frames=[RUN.frame(frame) for frame in FRAMES],
            metadata=RUN.checkpoint_metadata(),
            seeds=[RUN.replicate(seed).frame(f) for seed in config["seeds"][1:] for f in FRAMES],
        output:
            [
                report(
                    path,
                    category=QUESTIONS[section],
                    subcategory="Tables",
                    labels={"figure": "Statements" if path.endswith("summary.html") else "Results", "dataset": "all"},
                    caption="../report/tables.rst",
                )
                for path in RUN.table_files("html")
            ],
            RUN.table_files("csv", "tex", "md"),
        log:
            RUN.log(f"{RUN.name}_{naming.TABLES}"),
        conda:
            "../../envs/kanbench.yaml"
        resources:
            **needs("consolidation"),
        params:
            section=RUN.section,
            epochs="" if section in WITHOUT_EPOCHS else "--epochs {epochs}",
        message:
            "Writing tables"
        shell:
            "python -m kanbench tables {params.section} --timestamp {wildcards.timestamp} {params.epochs} > {log} 2>&1"
