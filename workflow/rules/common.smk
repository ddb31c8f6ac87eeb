"""Configuration, timestamp and targets: what can be wrong is checked here, before anything runs."""

from snakemake.cli import get_argument_parser
from snakemake.settings.types import DeploymentMethod

from kanbench.errors import InputError
from kanbench.plan import naming
from kanbench.plan.config import check, check_device
from kanbench.plan.inputs import Pipeline, current_timestamp, write_pin
from kanbench.plan.sections import CONTROL, MODEL_TYPES, SECTIONS, TIMESTAMP


def checked(function, *arguments):
    """Call `function`; wrong input ends everything, with one line and no traceback."""
    try:
        return function(*arguments)
    except InputError as error:
        sys.exit(f"kanbench: {error}")


def check_conda():
    """Jobs find the package by PYTHONPATH, which Snakemake takes from those in conda environments."""
    settings, option = workflow.deployment_settings, "--conda-not-block-search-path-envvars"
    if DeploymentMethod.CONDA in settings.deployment_method and not settings.conda_not_block_search_path_envvars:
        sys.exit(f"kanbench: --sdm conda: jobs would not find the package; allowed: with {option}")


def requested_targets():
    """The files and rules that were asked for on the command line.

    Snakemake keeps them where a Snakefile can read them only after it has been parsed, which is too late for an error
    of one line. Jobs are given theirs in another way.
    """
    if not workflow.is_main_process or "snakemake" not in sys.argv[0]:
        return []
    return get_argument_parser().parse_known_args(sys.argv[1:])[0].targets or []


def start():
    """Check what only the executing machine can tell, and keep the timestamp for later invocations."""
    if workflow.local_exec:
        checked(check_device, config["device"])
    # To start no more than so many jobs a second (100, unless something else was asked for), Snakemake 9 looks through
    # all jobs that are ready once a second for every job that has begun, and waits for a second when all are done.
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
    if pipeline.is_pinned(TARGETS):
        checked(write_pin, pipeline.timestamp)


def problem_file(wildcards):
    """The user's file that defines a training's problem.

    When it is newer, that alone trains nothing again: what a problem is made of has a digest in the settings.
    """
    return [ancient(path) for path in pipeline.problem_file(wildcards)]


def merge_frame_options(wildcards, input):
    """The inputs of a frame of section 2.3 as options of the command."""
    return [word for part, files in input.items() for word in (f"--{part}", *files)]


def title(wildcards, output):
    """What a job is about, in words.

    Because it is made of the outputs, Snakemake does not compare it with that of the last time: another word trains
    nothing again.
    """
    return pipeline.title(output[0])


def reported(described):
    """Output files with what Snakemake's report says of each."""
    return [report(path, **description) for path, description in described.items()]


check_conda()
config = checked(check, config)
pipeline = Pipeline(config, checked(current_timestamp, config["timestamp"], workflow.is_main_process))
TARGETS = requested_targets()
checked(pipeline.check_targets, TARGETS)

# A run names the files of its problems, but those who draw it run the user's own only, by the configuration.
OWN_PROBLEMS = ["--problems", *config["problems"]] if config["problems"] else []

# Any run of a section, and any of Section 2.3's replicates with another seed: paths with wildcards.
OPTIMIZERS, DENSITY, MERGING = (pipeline.pattern(section) for section in SECTIONS)
MERGING_SEEDS = MERGING.replicate("{seed}")


wildcard_constraints:
    timestamp=TIMESTAMP,
    epochs=naming.EPOCHS,
    model_type="|".join(MODEL_TYPES),
    frame="|".join(SECTIONS["section2_3"].frames),
    seed=naming.NUMBER,
    dataset_idx="|".join(map(str, pipeline.datasets)),
