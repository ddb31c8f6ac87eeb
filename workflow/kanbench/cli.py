"""`python -m kanbench SUBCOMMAND`: the steps of the pipeline by hand. A rule of the workflow runs the same command."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml
from tqdm import tqdm

from kanbench import __version__, naming
from kanbench.config import DEFAULT_CONFIG, load_config, training_settings
from kanbench.errors import InputError
from kanbench.storage.handover import handover, read_handover, write_handover

log = logging.getLogger("kanbench")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; wrong input ends in one line on stderr and the status 1."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    try:
        arguments.run(arguments)
    except InputError as error:
        print(f"kanbench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("kanbench: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kanbench", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="SUBCOMMAND")

    train = commands.add_parser("train", help="one model on one dataset: two checkpoints and a history")
    train.add_argument("name", help="for example section2_1_20260101_000000_e10_lm_2: model type lm on dataset 2")
    settings = train.add_mutually_exclusive_group()
    settings.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="a YAML file over config/config.yaml")
    settings.add_argument("--settings", type=json.loads, help="the training's settings as JSON, instead of --config")
    train.add_argument("--results-dir", default=naming.RESULTS)
    train.set_defaults(run=_train)

    frame = commands.add_parser("frame", help="consolidate the trainings of a model type into its frame")
    frame.add_argument("outputs", nargs="+", type=Path, metavar="OUTPUT", help="PATH.pkl, PATH.parquet or both")
    frame.add_argument("--trainings", nargs="+", required=True, type=Path, metavar="JSON")
    frame.add_argument("--reference", nargs="+", required=True, type=Path, metavar="JSON")
    frame.set_defaults(run=_frame)

    metadata = commands.add_parser("metadata", help="consolidate the metrics of all checkpoints of a run")
    metadata.add_argument("output", type=Path)
    metadata.add_argument("--trainings", nargs="+", required=True, type=Path, metavar="JSON")
    metadata.set_defaults(run=_metadata)

    sweep = commands.add_parser("sweep", help="compare values of a setting by their test loss")
    sweep.add_argument("model_type", choices=naming.SECTIONS["section2_1"].model_types)
    sweep.add_argument("key", help="for example optimizers.adam.lr")
    sweep.add_argument("values", nargs="+", type=_yaml, metavar="VALUE")
    sweep.add_argument("--seeds", nargs="+", type=int, default=[101, 102, 103], metavar="SEED")
    sweep.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="a YAML file over config/config.yaml")
    sweep.set_defaults(run=_sweep)

    summary = commands.add_parser("summary", help="print the table of a run's checkpoints")
    summary.add_argument("section", choices=naming.SECTIONS)
    summary.add_argument("--timestamp", help="default: the latest run")
    summary.add_argument("--epochs", type=int)
    summary.add_argument("--results-dir", default=naming.RESULTS)
    summary.set_defaults(run=_summary)
    return parser


def _yaml(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"{text!r} is not YAML") from None


def _train(arguments: argparse.Namespace) -> None:
    name = naming.parse(arguments.name)
    if name.run.section != "section2_1" or name.run.epochs is None or name.dataset_idx is None:
        raise InputError(f"{arguments.name}: not a training; allowed: section2_1_TIMESTAMP_eEPOCHS_MODELTYPE_DATASET")
    settings = arguments.settings
    if settings is None:
        settings = training_settings(load_config(arguments.config), name.model_type, name.dataset_idx)

    log.info("%s: %s", arguments.name, json.dumps(settings, sort_keys=True))

    # Imported here: torch and pykan take seconds, which the other subcommands need not wait for.
    from kanbench.storage.checkpoints import write_checkpoint
    from kanbench.training import Trainer

    _use_one_thread()
    run = dataclasses.replace(name.run, results=arguments.results_dir)
    trainer = Trainer(settings)
    with _progress(name.run.epochs * len(settings["grids"]["sizes"])) as report:
        training = trainer.train(name.run.epochs, report)
    if training.stopped:
        log.warning("%s: ended early: %s", arguments.name, training.stopped)
    for checkpoint in naming.CHECKPOINTS:
        model = getattr(training, checkpoint).snapshot.restore()
        base = run.checkpoint(name.model_type, name.dataset_idx, checkpoint)
        write_checkpoint(model, base, trainer.dataset.train_input)
        row = getattr(training, checkpoint).row
        log.info("%s: epoch %d  %s", base, row["epoch"], _in_words(row))
    write_handover(handover(name, settings, training), run.history(name.model_type, name.dataset_idx))


def _use_one_thread() -> None:
    """Results must not depend on the number of cores, and more threads do not help problems of this size."""
    import torch

    torch.set_num_threads(1)


@contextlib.contextmanager
def _progress(epochs: int) -> Iterator[Callable[[dict], None]]:
    """A function that shows a row of the history: in a bar on a terminal, as a line in a log."""
    with tqdm(total=epochs, unit="epoch", disable=not sys.stderr.isatty()) as bar:

        def report(row: dict) -> None:
            bar.set_postfix_str(f"grid {row['grid_size']}  {_losses(row)}", refresh=False)
            bar.update()
            if bar.disable:
                log.info("epoch %d/%d  %s", row["epoch"], epochs, _in_words(row))

        yield report


def _in_words(row: dict) -> str:
    return f"grid {row['grid_size']}  {_losses(row)}  {row['time']:.2f} s"


def _losses(row: dict) -> str:
    return "  ".join(f"{name} {row[name]:.3e}" for name in ("train_loss", "test_loss", "dense_mse"))


def _frame(arguments: argparse.Namespace) -> None:
    from kanbench.storage.frames import build_frame, write_frame

    trainings, reference = (
        [read_handover(path) for path in paths] for paths in (arguments.trainings, arguments.reference)
    )
    frame = build_frame(trainings, reference)
    for output in arguments.outputs:
        write_frame(frame, output)
        log.info("%s: %d rows", output, len(frame))


def _metadata(arguments: argparse.Namespace) -> None:
    from kanbench.storage.metadata import build_metadata, write_metadata

    write_metadata(build_metadata([read_handover(path) for path in arguments.trainings]), arguments.output)
    log.info("%s: %d trainings", arguments.output, len(arguments.trainings))


def _sweep(arguments: argparse.Namespace) -> None:
    from kanbench.sweep import sweep, table

    _use_one_thread()
    rows = sweep(load_config(arguments.config), arguments.model_type, arguments.key, arguments.values, arguments.seeds)
    print(f"{arguments.model_type}: test loss at the threshold / variance of the target,")
    print(f"geometric mean over the seeds {arguments.seeds}, by {arguments.key}")
    print(table(rows).to_string(float_format="{:.3g}".format))


def _summary(arguments: argparse.Namespace) -> None:
    from kanbench.analysis import summary
    from kanbench.storage.runs import find_run, load_checkpoint_metadata, load_run

    run = find_run(arguments.section, arguments.timestamp, arguments.epochs, arguments.results_dir)
    results, _ = load_run(run.section, run.timestamp, epochs=run.epochs, results_dir=run.results)
    metadata = load_checkpoint_metadata(run.section, run.timestamp, epochs=run.epochs, results_dir=run.results)
    print(run.name)
    print(summary(results, metadata).to_string(float_format="{:.3g}".format))
