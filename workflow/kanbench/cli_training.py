"""The subcommands that train: one model, one expert, the merged model, its control."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from kanbench import naming
from kanbench.config import DEFAULT_CONFIG, load_config
from kanbench.errors import InputError
from kanbench.files import check_writable, one_at_a_time
from kanbench.settings import control_settings, expert_settings, merge_settings, training_settings
from kanbench.startup import start_torch
from kanbench.storage.handover import handover, read_handover, write_handover
from kanbench.targets import check_variant

if TYPE_CHECKING:
    from kan import KAN

    from kanbench.record import Training
    from kanbench.unfinished import Unfinished

TRAINED = (*naming.SECTIONS["section2_1"].model_types, *naming.SECTIONS["section2_2"].model_types)

log = logging.getLogger("kanbench")


def add_commands(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser("train", help="one model on one dataset: checkpoints and a history")
    train.add_argument(
        "name",
        help="for example section2_1_20260101_000000_e10_lm_2, model type lm on dataset 2, or "
        "section2_3_20260101_000000_expert_2_d3_k2_s1, an expert with 3 hidden layers, order 2 and seed 1; "
        "with _sSEED at the end of the first, with another seed than the first, and without checkpoints",
    )
    _add_settings(train)
    train.set_defaults(run=_train)

    merge = commands.add_parser("merge", help="merge experts into one model, and train it")
    merge.add_argument("name", help="for example section2_3_20260101_000000_merge_kan_2")
    merge.add_argument("--experts", nargs="+", required=True, type=Path, metavar="JSON")
    _add_settings(merge)
    merge.set_defaults(run=_merge)

    control = commands.add_parser("control", help="train a model of a merged model's size from scratch")
    control.add_argument("name", help="for example section2_3_20260101_000000_control_2")
    control.add_argument("--merged", required=True, type=Path, metavar="JSON")
    control.add_argument("--experts", nargs="+", required=True, type=Path, metavar="JSON")
    _add_settings(control)
    control.set_defaults(run=_control)


def _add_settings(command: argparse.ArgumentParser) -> None:
    settings = command.add_mutually_exclusive_group()
    settings.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="a YAML file over config/config.yaml")
    settings.add_argument("--settings", type=json.loads, help="the training's settings as JSON, instead of --config")
    command.add_argument("--threads", type=int, default=1, help="of the compiled engine, for many samples (default: 1)")
    command.add_argument("--results-dir", default=naming.RESULTS)


def _train(arguments: argparse.Namespace) -> None:
    name = _parse(arguments, *TRAINED, naming.EXPERT)
    if name.expert is not None:
        _train_expert(arguments, name)
        return
    which = name.run.section, name.model_type, name.dataset_idx
    settings = _settings(arguments, name, lambda config, seed: training_settings(config, *which, seed))
    from kanbench.target_scale import target_scale
    from kanbench.training import Trainer

    scale = target_scale(settings["problem"], settings["data"]["dense_num"], settings["data"]["seed"])
    if scale.is_degenerate:
        log.warning("%s is degenerate: %s", settings["problem"], scale.in_words())
    with _progress(name.run.epochs * len(settings["grids"]["sizes"])) as report:
        trainer = Trainer(settings, threads=arguments.threads)
        training = trainer.train(name.run.epochs, report, _unfinished(arguments, name))
    _write(arguments, name, settings, training, name.run.checkpoints(name.model_type, name.dataset_idx))


def _train_expert(arguments: argparse.Namespace, name: naming.FileName) -> None:
    settings = _settings(arguments, name, lambda config, _: expert_settings(config, name.dataset_idx, *name.expert))
    from kanbench.experts import train_expert

    with _progress(settings["epochs"]) as report:
        training, expert = train_expert(settings, report, arguments.threads, _unfinished(arguments, name))
    checkpoint = {"final": name.run.handover_checkpoint(arguments.name)}
    _write(arguments, name, settings, training, checkpoint, expert=expert)


def _merge(arguments: argparse.Namespace) -> None:
    name = _parse(arguments, "merge_kan")
    experts = _read_experts(arguments, name)
    settings = _settings(arguments, name, lambda config, seed: merge_settings(config, name.dataset_idx, seed))
    from kanbench.merge_kan import train_merged
    from kanbench.models import load_checkpoint

    def load(position: int) -> KAN:
        base = arguments.experts[position].with_suffix("")
        try:
            return load_checkpoint(base)
        except InputError as error:
            raise InputError(f"{error}; train this expert again") from error

    with _progress(settings["epochs"] * len(settings["grids"]["sizes"])) as report:
        unfinished = _unfinished(arguments, name)
        training, merging = train_merged(settings, experts, load, report, arguments.threads, unfinished)
    _write(
        arguments, name, settings, training, name.run.checkpoints(name.model_type, name.dataset_idx), merging=merging
    )


def _control(arguments: argparse.Namespace) -> None:
    name = _parse(arguments, naming.CONTROL)
    experts = _read_experts(arguments, name)
    merged = read_handover(arguments.merged)
    if "merging" not in merged or merged["dataset_idx"] != name.dataset_idx:
        raise InputError(f"{arguments.merged}: allowed: the merged model of dataset {name.dataset_idx}")
    settings = _settings(arguments, name, lambda config, seed: control_settings(config, name.dataset_idx, seed))
    from kanbench.merge_kan import train_control

    outcome = merged["checkpoints"]["final"] | {key: merged["merging"][key] for key in ("width", "k", "via")}
    with _progress(None) as report:
        unfinished = _unfinished(arguments, name)
        training = train_control(settings, outcome, experts, report, arguments.threads, unfinished)
    _write(arguments, name, settings, training, {}, width=training.final.snapshot.width)


def _read_experts(arguments: argparse.Namespace, name: naming.FileName) -> list[dict]:
    experts = [read_handover(path) for path in arguments.experts]
    for path, expert in zip(arguments.experts, experts, strict=True):
        if "expert" not in expert or expert["dataset_idx"] != name.dataset_idx:
            raise InputError(f"{path}: allowed: experts of dataset {name.dataset_idx}")
    return [expert["expert"] for expert in experts]


def _parse(arguments: argparse.Namespace, *model_types: str) -> naming.FileName:
    """Read the name of the training that was asked for."""
    name = naming.parse(arguments.name)
    run = dataclasses.replace(name.run, results=arguments.results_dir)
    complete = name.run.epochs is not None or naming.without_variant(name.run.section) in naming.EPOCHLESS
    if not complete or name.dataset_idx is None or Path(arguments.name).suffix or name.model_type not in model_types:
        raise InputError(
            f"{arguments.name}: not a training for this command; allowed: SECTION_TIMESTAMP_eEPOCHS_MODELTYPE_DATASET "
            f"(section2_3 without epochs; _sSEED at the end for another seed), with MODELTYPE one of "
            f"{', '.join(model_types)}"
        )
    check_writable(Path(run.handover(arguments.name)).parent)  # rather than find out after hours
    return dataclasses.replace(name, run=run)


def _settings(
    arguments: argparse.Namespace, name: naming.FileName, of_config: Callable[[dict, int | None], dict]
) -> dict:
    """The settings that were given, or what `of_config` says for a configuration and the seed in the name."""
    settings, seed = arguments.settings, name.run.seed
    if settings is None:
        config = load_config(arguments.config)
        check_variant(arguments.name, name.run, config["variant"])
        settings = of_config(config, seed)
    elif seed not in (None, settings["seed"]):
        raise InputError(f"{arguments.name}: found settings with seed {settings['seed']}; allowed: with seed {seed}")
    log.info("%s: %s", arguments.name, json.dumps(settings, sort_keys=True))
    start_torch()
    return settings


def _unfinished(arguments: argparse.Namespace, name: naming.FileName) -> Unfinished:
    from kanbench.unfinished import Unfinished

    return Unfinished(name.run.unfinished(arguments.name))


def _write(
    arguments: argparse.Namespace,
    name: naming.FileName,
    settings: dict,
    training: Training,
    checkpoints: dict[str, str],
    **more: object,
) -> None:
    """Write the checkpoints, `{which: base}`, and then the hand-over, which says that the training is done.

    Where the same training runs twice at once, the files are those of one of them.
    """
    from kanbench.storage.checkpoints import write_checkpoint
    from kanbench.training import make_data

    if training.stopped:
        log.warning("%s: ended early: %s", arguments.name, training.stopped)
    inputs, path = make_data(settings).train_input, name.run.handover(arguments.name)
    with one_at_a_time(Path(path).parent):
        for which, base in checkpoints.items():
            checkpoint = getattr(training, which)
            write_checkpoint(checkpoint.snapshot.restore(), base, inputs)
            log.info("%s: epoch %d  %s", base, checkpoint.row["epoch"], _in_words(checkpoint.row))
        write_handover(handover(name, settings, training, **more), path)
    _unfinished(arguments, name).remove()


@contextlib.contextmanager
def _progress(epochs: int | None) -> Iterator[Callable[[dict], None]]:
    """A function that shows a row of the history: in a bar on a terminal, as a line in a log."""
    with tqdm(total=epochs, unit="epoch", disable=not sys.stderr.isatty()) as bar:

        def report(row: dict) -> None:
            bar.set_postfix_str(f"grid {row['grid_size']}  {_losses(row)}", refresh=False)
            bar.update(row["epoch"] - bar.n)
            if bar.disable:
                log.info("epoch %d/%s  %s", row["epoch"], epochs or "?", _in_words(row))

        yield report


def _in_words(row: dict) -> str:
    return f"grid {row['grid_size']}  {_losses(row)}  {row['time']:.2f} s"


def _losses(row: dict) -> str:
    return "  ".join(f"{name} {row[name]:.3e}" for name in ("train_loss", "test_loss", "dense_mse"))
