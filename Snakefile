"""Three experiments on training Kolmogorov-Arnold networks; see README.md and workflow/docs/experiments.md."""

import os
import sys

from snakemake.utils import min_version

min_version("9.0")

# Find the package without installation, here and in all jobs. Snakemake also searches this folder and the working
# folder for modules; exclude them, so that a kan/ or random.py there is not imported.
HERE = str(workflow.current_basedir)  # workflow.basedir is the folder of the Snakefile that Snakemake was given
PACKAGE = os.path.join(HERE, "workflow")
if os.pathsep in PACKAGE:
    sys.exit(f"kanbench: {HERE}: found {os.pathsep!r} in the path; allowed: any other letters")
SEARCHED = [PACKAGE, *filter(None, os.getenv("PYTHONPATH", "").split(os.pathsep))]
sys.path[:] = [PACKAGE, *(folder for folder in sys.path if folder not in (HERE, str(workflow.basedir)))]
os.environ |= {"PYTHONPATH": os.pathsep.join(SEARCHED), "PYTHONSAFEPATH": "1"}


configfile: os.path.join(HERE, "config", "config.yaml")


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/merge_kan.smk"
include: "workflow/rules/consolidate.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/report.smk"


onstart:
    start()


rule all:
    default_target: True
    input:
        [pipeline.results(section) for section in config["sections"]],
        pipeline.page,
    message:
        "All results of the run are complete"


rule figures:
    input:
        [pipeline.figures(pipeline.run(section)) for section in config["sections"]],
    message:
        "All figures of the run are complete"


rule section2_1:
    input:
        pipeline.results("section2_1"),
    message:
        "All results of Section 2.1, the optimizers, are complete"


rule section2_2:
    input:
        pipeline.results("section2_2"),
    message:
        "All results of Section 2.2, adaptive density, are complete"


rule section2_3:
    input:
        pipeline.results("section2_3"),
    message:
        "All results of Section 2.3, Merge_KAN, are complete"


rule seeds:
    input:
        [pipeline.replicate_frames(pipeline.run(section)) for section in config["sections"]],
    message:
        "The frames of all seeds but the first are complete"
