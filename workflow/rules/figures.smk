"""Figures: one job draws those of a section's run, from its frames, metadata and checkpoints."""

for section in SECTIONS:
    RUN = run_of(section)

    rule:
        name:
            f"figures_{section}"
        input:
            RUN.deliverables(len(config["datasets"]), model_types(config, section)),
            frames_of_seeds(RUN),
        output:
            [
                report(
                    f"{RUN.figure_folder}/{figure.name}.png",
                    category=QUESTIONS[section],
                    subcategory=TITLES[figure.kind],
                    labels={"figure": TITLES[figure.kind], "dataset": figure.dataset or "all"},
                    caption=f"../report/{figure.kind}.rst",
                )
                for figure in figures_of(section, config["datasets"])
            ],
            [f"{RUN.figure_folder}/{figure.name}.pdf" for figure in figures_of(section, config["datasets"])],
        log:
            RUN.log(f"{RUN.name}_figures"),
        conda:
            "../../envs/kanbench.yaml"
        resources:
            **needs("consolidation"),
        params:
            run=f"{RUN.section} --timestamp {{timestamp}}" + ("" if section in WITHOUT_EPOCHS else " --epochs {epochs}"),
        message:
            "Drawing the figures of a run"
        shell:
            "python -m kanbench figures {params.run} --placeholders > {log} 2>&1"
