"""Configuration, timestamp and targets: what can be wrong is checked here, before anything runs."""

from itertools import product
from pathlib import Path

from snakemake.cli import get_argument_parser

from kanbench.plan import naming
from kanbench.plan.config import check, check_device, experts
from kanbench.errors import InputError
from kanbench.plan.figures import TITLES, check_figure, figures_of, is_figure
from kanbench.io.atomic import atomic_write
from kanbench.plan.naming import Run
from kanbench.plan.sections import (
    CONTROL,
    MODEL_TYPES,
    SECTIONS,
    TIMESTAMP as TIMESTAMP_PATTERN,
    WITHOUT_EPOCHS,
    is_timestamp,
    new_timestamp,
    with_variant,
    without_variant,
)
from kanbench.plan.settings import (
    canonical_json,
    control_settings,
    expert_settings,
    merge_settings,
    model_types,
    training_settings,
)
from kanbench.plan.targets import check_target

# What reports call the sections.
QUESTIONS = {
    "section2_1": "2.1 Which optimizer trains best?",
    "section2_2": "2.2 Does adaptive density help?",
    "section2_3": "2.3 Does merging experts help?",
}


def checked(function, *arguments):
    """Call `function`; wrong input ends everything, with one line and no traceback."""
    try:
        return function(*arguments)
    except InputError as error:
        sys.exit(f"kanbench: {error}")


def run_timestamp():
    """The configured timestamp; for `auto` the pinned one, or now if there is none; for `new` now."""
    pin = Path(naming.PIN)
    if config["timestamp"] not in ("auto", "new"):
        return config["timestamp"]
    # Jobs parse the Snakefile again, and must not begin a run of their own.
    if pin.exists() and (config["timestamp"] == "auto" or not workflow.is_main_process):
        pinned = pin.read_text().strip()
        if not is_timestamp(pinned):
            raise InputError(f"{pin}: found {pinned!r}; allowed: YYYYMMDD_HHMMSS; delete the file to begin a new run")
        return pinned
    return new_timestamp()


def start():
    """Check what only the executing machine can tell, and keep the timestamp for later invocations."""
    if workflow.local_exec:
        checked(check_device, config["device"])
    # Files that were asked for by name belong to the runs that their names say.
    if config["timestamp"] in ("auto", "new") and (not TARGETS or set(TARGETS) & set(TARGET_RULES)):
        checked(write_pin)


def write_pin():
    with atomic_write(naming.PIN) as partial:
        partial.write_text(f"{TIMESTAMP}\n")


def requested_targets():
    """The files and rules that were asked for on the command line; jobs are given theirs in another way."""
    if not workflow.is_main_process or "snakemake" not in sys.argv[0]:
        return []
    return get_argument_parser().parse_known_args(sys.argv[1:])[0].targets or []


def check_targets():
    """Say of a target that nothing can make what is allowed; Snakemake would only say that no rule makes it."""
    if "seeds" in TARGETS and len(config["seeds"]) == 1:
        raise InputError(f"target: found 'seeds', with seeds: {config['seeds']}; allowed with at least two seeds")
    all_experts = [expert for seed in config["seeds"] for expert in experts(config, seed)]
    for target in TARGETS:
        if is_figure(target):
            check_figure(target, config["datasets"])
            continue
        check_target(target, TARGET_RULES, len(config["datasets"]), all_experts, config["seeds"][1:], config["variant"])


def run_of(section, timestamp="{timestamp}", epochs="{epochs}", seed=None):
    """The run of a section of the configured variant; by default for patterns."""
    epochs = None if section in WITHOUT_EPOCHS else epochs
    return Run(with_variant(section, config["variant"]), timestamp, epochs, seed=seed)


def current_run(section):
    """The run of a section that `all` means."""
    return run_of(section, TIMESTAMP, config["epochs"])


def deliverables(section):
    """Every file of the current run of a section, those of all seeds among them."""
    every = current_run(section).deliverables(len(config["datasets"]), model_types(config, section))
    return every + seeds_frames(section)


def seeds_frames(section):
    """The frames of the current run of a section with the seeds but the first."""
    return frames_of_seeds(current_run(section))


def frames_of_seeds(run):
    """The same of any run."""
    replicates = [run.replicate(seed) for seed in config["seeds"][1:]]
    of_run = len(config["datasets"]), model_types(config, without_variant(run.section))
    return [file for replicate in replicates for file in replicate.deliverables(*of_run)]


def figure_files(section):
    """Every figure of the current run of a section."""
    folder = current_run(section).figure_folder
    return [path for figure in figures_of(section, config["datasets"]) for path in figure.paths(folder)]


def seed_of(wildcards):
    """The seed of a job that trains with another one than the first, or None."""
    return int(wildcards.seed) if "seed" in wildcards.keys() else None


def tables(section):
    """The tables of the current run of a section."""
    return current_run(section).table_files()


def records(run, model_types):
    """What the trainings of the model types, on all datasets, hand over."""
    return [run.record(run.training(m, i)) for m in model_types for i in range(len(config["datasets"]))]


def expert_records(run, dataset_idx):
    """What the trainings of all experts of a dataset hand over."""
    return [run.record(run.expert(dataset_idx, *expert)) for expert in experts(config, run.seed)]


def expert_checkpoints(run, dataset_idx):
    """The checkpoints of all experts of a dataset."""
    bases = [run.expert_checkpoint(run.expert(dataset_idx, *expert)) for expert in experts(config, run.seed)]
    return [f"{base}_{file}" for base in bases for file in naming.CHECKPOINT_FILES]


def expert_inputs(wildcards):
    """The experts that a job with another seed than the first merges."""
    run, index = run_of("section2_3", wildcards.timestamp, seed=seed_of(wildcards)), wildcards.dataset_idx
    return {"experts": expert_records(run, index), "checkpoints": expert_checkpoints(run, index)}


def merge_frame_inputs(wildcards):
    """The trainings that a frame of section 2.3 is made from."""
    run = run_of("section2_3", wildcards.timestamp, seed=seed_of(wildcards))
    inputs = {"experts": [f for i in range(len(config["datasets"])) for f in expert_records(run, i)]}
    if wildcards.frame != "experts":
        inputs["merged"] = records(run, SECTIONS["section2_3"].model_types)
    if wildcards.frame == "summary":
        inputs["controls"] = records(run, [CONTROL])
    return inputs


def merge_frame_options(wildcards, input):
    """The same as options of the command."""
    return [word for part, files in input.items() for word in (f"--{part}", *files)]


def settings_of(section):
    """The function that gives a training of the section its settings as one line.

    Snakemake compares the line, and the command is given it.
    """
    return lambda wildcards: canonical_json(
        training_settings(config, section, wildcards.model_type, int(wildcards.dataset_idx), seed_of(wildcards))
    )


def expert_json(wildcards):
    """The same for an expert."""
    numbers = (int(getattr(wildcards, name)) for name in ("dataset_idx", "depth", "k", "seed"))
    return canonical_json(expert_settings(config, *numbers))


def merge_json(wildcards):
    """The same for a merged model."""
    return canonical_json(merge_settings(config, int(wildcards.dataset_idx), seed_of(wildcards)))


def control_json(wildcards):
    """The same for the control of a merged model."""
    return canonical_json(control_settings(config, int(wildcards.dataset_idx), seed_of(wildcards)))


config = checked(check, config)
PAGE = naming.page(config["variant"])
TARGET_RULES = ("all", *SECTIONS, "seeds", "figures", PAGE)
TIMESTAMP = checked(run_timestamp)
TARGETS = requested_targets()
checked(check_targets)


wildcard_constraints:
    timestamp=TIMESTAMP_PATTERN,
    epochs=naming.EPOCHS,
    model_type="|".join(MODEL_TYPES),
    frame="|".join(SECTIONS["section2_3"].frames),
    depth=naming.NUMBER,
    k=naming.NUMBER,
    seed=naming.NUMBER,
    dataset_idx="|".join(map(str, range(len(config["datasets"])))),
