"""Configuration, timestamp and targets, all checked before anything runs."""

from snakemake.cli import get_argument_parser
from snakemake.settings.types import DeploymentMethod

from kanbench.errors import InputError
from kanbench.plan import naming
from kanbench.plan.config import check, check_device
from kanbench.plan.inputs import Pipeline, current_timestamp, write_pin
from kanbench.plan.sections import CONTROL, MODEL_TYPES, SECTIONS, TIMESTAMP


def checked(function, *arguments):
    """Call `function`; on invalid input, exit with a one-line message and no traceback."""
    try:
        return function(*arguments)
    except InputError as error:
        sys.exit(f"kanbench: {error}")


def check_conda():
    """Check that jobs keep PYTHONPATH, by which they find the package; in conda environments Snakemake removes it."""
    settings, option = workflow.deployment_settings, "--conda-not-block-search-path-envvars"
    if DeploymentMethod.CONDA in settings.deployment_method and not settings.conda_not_block_search_path_envvars:
        sys.exit(f"kanbench: --sdm conda: jobs would not find the package; allowed: with {option}")


def check_limits():
    """Check the limits on parallel jobs and threads: with 0, Snakemake would wait forever for a free core."""
    limits = workflow.resource_settings
    options = {"--cores": limits.cores, "--jobs": limits.nodes, "--max-threads": limits.max_threads}
    for option, number in options.items():  # None if not given, such as --cores on a cluster
        if workflow.is_main_process and number is not None and number < 1:
            raise InputError(option, number, "an integer, at least 1")


def requested_targets():
    """The targets given on the command line.

    They are parsed here because Snakemake makes them available only after parsing the Snakefile, too late for a
    one-line error. Jobs get their targets in another way.
    """
    if not workflow.is_main_process or "snakemake" not in sys.argv[0]:
        return []
    return get_argument_parser().parse_known_args(sys.argv[1:])[0].targets or []


def start():
    """Check the device on the executing machine, and store the timestamp for later invocations."""
    if workflow.local_exec:
        checked(check_device, config["device"])
    # Remove Snakemake's default rate limit of 100 jobs per second. To enforce it, Snakemake 9 checks all ready jobs
    # once a second for every started job, and waits a second at the end.
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
    if pipeline.is_pinned(TARGETS):
        checked(write_pin, pipeline.timestamp)


def problem_file(wildcards):
    """The user's file that defines the problem of a training.

    A newer file alone does not repeat the training (`ancient`): the settings have a digest of the problem's definition.
    """
    return [ancient(path) for path in pipeline.problem_file(wildcards)]


def merge_frame_options(wildcards, input):
    """The inputs of a frame of section 2.3 as command-line options."""
    return [word for part, files in input.items() for word in (f"--{part}", *files)]


def title(wildcards, output):
    """A description of the job for its message.

    It takes `output`, so Snakemake does not compare it with the last run, and a change of wording repeats no job.
    """
    return pipeline.title(output[0])


def reported(described):
    """Output files, annotated for Snakemake's report."""
    return [report(path, **description) for path, description in described.items()]


check_conda()
checked(check_limits)
config = checked(check, config)
pipeline = Pipeline(config, checked(current_timestamp, config["timestamp"], workflow.is_main_process))
TARGETS = requested_targets()
checked(pipeline.check_targets, TARGETS)

# Figures and page execute only Python files that the configuration names, not those that a run names.
OWN_PROBLEMS = ["--problems", *config["problems"]] if config["problems"] else []

# Runs with wildcards: any run of each section, and any replicate of Section 2.3.
OPTIMIZERS, DENSITY, MERGING = (pipeline.pattern(section) for section in SECTIONS)
MERGING_SEEDS = MERGING.replicate("{seed}")


wildcard_constraints:
    timestamp=TIMESTAMP,
    epochs=naming.EPOCHS,
    model_type="|".join(MODEL_TYPES),
    frame="|".join(SECTIONS["section2_3"].frames),
    seed=naming.NUMBER,
    dataset_idx="|".join(map(str, pipeline.datasets)),
