"""What people get wrong on the command line: each mistake is answered by one sentence and an exit status above 0.

Nothing is trained for long, nothing hangs, and no traceback is shown.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import pyro_helm as helm
from pyro_helm.cli.app import app
from tests.damaged_files import machine, write_data, write_machines, write_resume_folders

RUNNER = CliRunner()
QUICK = ["--epochs", "1", "--restarts", "2", "--particles", "2"]
MISUSES = [
    # names
    ("compare OWN --sizes 3 --schemes vimc", "unknown scheme 'vimc'; did you mean vimco?"),
    ("compare OWN --sizes 3 --schemes reinforce,wake-slep", "unknown scheme 'wake-slep'; did you mean wake_sleep?"),
    ("compare OWN --sizes 3 --schemes ,", "unknown scheme ''; known are reinforce"),
    ("compare OWN --sizes 3 --schemes vimco,vimco", "each named once, got vimco, vimco"),
    ("compare OWN --sizes 3 --imaging sigmod", "unknown imaging model 'sigmod'; did you mean sigmoid?"),
    ("compare OWN --sizes 3 --imaging noisy-or", "did you mean noisy_or?"),
    ("compare OWN --sizes 3 --step catpured", "unknown kind of step 'catpured'; did you mean captured?"),
    ("fit OWN --sizes 3 --scheme VIMCO", "unknown scheme 'VIMCO'; did you mean vimco?"),
    ("fit OWN --sizes 3 --scheme all", "unknown scheme 'all'; known are reinforce"),
    ("fit OWN --sizes 3 --scheme [red]", "unknown scheme '[red]'; known are reinforce"),
    ("fit OWN --sizes 3 --imaging odd", "did you mean odds?"),
    ("fit OWN --sizes 3 --imaging sigmoid,odds", "unknown imaging model 'sigmoid,odds'"),
    ("fit OWN --sizes 3 --optimizer lbgfs", "unknown optimizer 'lbgfs'; did you mean lbfgs?"),
    ("fit OWN --sizes 3 --step fast", "unknown kind of step 'fast'; known are eager, captured, compiled"),
    ("fit shiftr --sizes 3", "unknown data set 'shiftr'; did you mean shifter? Known are shifter, bars, digits"),
    ("fit nonsense --sizes 3", "unknown data set 'nonsense'; known are"),
    ("fit [/bold] --sizes 3", "[/bold] does not exist"),
    ("fit [red] --sizes 3", "unknown data set '[red]'"),
    ("fit EMPTY --sizes 3", "unknown data set ''"),
    ("loglik RUN --data OWN --method exakt", "unknown method 'exakt'; did you mean exact?"),
    ("loglik RUN --data OWN --method ais --start gide", "unknown start 'gide'; did you mean guide?"),
    ("fit OWN --sizes 3 --restart 2", "--restarts"),
    ("fit OWN --sizes 3 --learning_rate 2", "No such option: --learning_rate"),
    ("fti OWN --sizes 3", "No such command 'fti'"),
    ("loglik RUN", "Missing option '--data'"),
    ("fit --sizes 3", "Missing argument 'DATA'"),
    ("fit OWN", "--sizes is missing; belief_network needs its units per layer"),
    ("draw", "Missing"),
    # sizes
    ("fit OWN --sizes a-b", "--sizes must be units per layer such as 32-24-2, got 'a-b'"),
    ("fit OWN --sizes EMPTY", "--sizes must be units per layer such as 32-24-2, got ''"),
    ("fit OWN --sizes 4--2", "--sizes must be units per layer such as 32-24-2, got '4--2'"),
    ("fit OWN --sizes=-4", "--sizes must be units per layer such as 32-24-2, got '-4'"),
    ("fit OWN --sizes 0", "--sizes must be units per layer such as 32-24-2, got '0'"),
    ("fit OWN --sizes 4,2", "--sizes must be units per layer such as 32-24-2, got '4,2'"),
    ("fit OWN --sizes 1e6", "--sizes must be units per layer such as 32-24-2, got '1e6'"),
    ("fit OWN --sizes 3.5", "--sizes must be units per layer such as 32-24-2, got '3.5'"),
    ("fit OWN --sizes (4,2)", "--sizes must be units per layer such as 32-24-2, got '(4,2)'"),
    ("fit OWN --sizes 99999999999999999999", "--sizes must be units per layer such as 32-24-2"),
    ("fit OWN --sizes NINES", "--sizes must be units per layer such as 32-24-2, got '9999"),
    # more than memory holds
    ("fit OWN --sizes 1000000-1000000", "takes at least 291.1 TiB of memory (291.0 TiB for parameters"),
    ("fit OWN --sizes 10000000000", "of memory ("),
    ("fit OWN --sizes 4 --restarts 100000000000", "training 12-4 with 100000000000 restarts, 5 particles and 100 data"),
    ("fit OWN --sizes 4 --particles 100000000000", "for draws), but"),
    ("compare OWN --sizes 4 --particles 100000000000", "for draws), but"),
    ("compare OWN --sizes 4 --restarts 100000000000", "of memory ("),
    ("compare OWN --sizes 1000000-1000000", "of memory ("),
    ("loglik RUN --data OWN --samples 1000000000000", "Invalid value for '--samples'"),
    ("compare OWN --sizes 4 --samples 1000000000000", "Invalid value for '--samples'"),
    ("loglik RUN --data OWN --method ais --chains 1000000000", "Invalid value for '--chains'"),
    ("loglik RUN --data OWN --method ais --steps 1000000000000", "Invalid value for '--steps'"),
    # numbers
    ("fit OWN --sizes 4 --particles 0", "Invalid value for '--particles'"),
    ("fit OWN --sizes 4 --particles many", "Invalid value for '--particles'"),
    ("fit OWN --sizes 4 --particles 1e6", "Invalid value for '--particles'"),
    ("fit OWN --sizes 4 --restarts 0", "Invalid value for '--restarts'"),
    ("fit OWN --sizes 4 --restarts=-3", "Invalid value for '--restarts'"),
    ("fit OWN --sizes 4 --restarts 1.5", "Invalid value for '--restarts'"),
    ("fit OWN --sizes 4 --epochs 0", "Invalid value for '--epochs'"),
    ("fit OWN --sizes 4 --epochs nan", "Invalid value for '--epochs'"),
    ("fit OWN --sizes 4 --seconds 0", "max_seconds must be positive"),
    ("fit OWN --sizes 4 --seconds nan", "max_seconds must be positive"),
    ("fit OWN --sizes 4 --seconds=-1", "max_seconds must be positive"),
    ("fit OWN --sizes 4 --batch-size 0", "Invalid value for '--batch-size'"),
    ("fit OWN --sizes 4 --patience 0", "Invalid value for '--patience'"),
    ("fit OWN --sizes 4 --seed=-1", "Invalid value for '--seed'"),
    ("fit OWN --sizes 4 --seed 99999999999999999999999999", "seed must be from 0 to 2^62 - 1, got 9999"),
    ("fit OWN --sizes 4 --seed [/x]", "Invalid value for '--seed'"),
    ("fit OWN --sizes 4 --learning-rate inf", "--learning-rate must be a positive number, got inf"),
    ("fit OWN --sizes 4 --learning-rate nan", "--learning-rate must be a positive number, got nan"),
    ("fit OWN --sizes 4 --learning-rate 0", "--learning-rate must be a positive number, got 0.0"),
    ("fit OWN --sizes 4 --learning-rate=-0.1", "--learning-rate must be a positive number, got -0.1"),
    ("fit OWN --sizes 4 --learning-rate x", "Invalid value for '--learning-rate'"),
    ("compare OWN --sizes 4 --learning-rate inf", "--learning-rate must be a positive number, got inf"),
    ("fit OWN --sizes 4 --imaging odds --fixed-leak=-1", "leak"),
    ("fit OWN --sizes 4 --imaging noisy_or --fixed-leak 1.5", "leak"),
    ("fit OWN --sizes 4 --imaging odds --fixed-leak nan", "--fixed-leak must be a finite number, got nan"),
    ("fit OWN --sizes 4 --imaging sigmoid --fixed-leak nan", "--fixed-leak must be a finite number, got nan"),
    ("compare OWN --sizes 4 --fixed-leak inf", "--fixed-leak must be a finite number, got inf"),
    ("fit OWN --sizes 4 --optimizer lbfgs --scheme mean_field --batch-size 10", "no --batch-size, got 10"),
    ("fit OWN --sizes 4 --optimizer lbfgs --scheme vimco", "needs a loss that is the same at every call"),
    ("fit OWN --sizes 4 --scheme vimco --particles 1", "2"),
    ("fit OWN --sizes 4 --on-distribution", "--on-distribution needs a generated data set such as shifter"),
    ("loglik RUN --data OWN --samples 0", "Invalid value for '--samples'"),
    ("loglik RUN --data OWN --samples=-5", "Invalid value for '--samples'"),
    ("loglik RUN --data OWN --method ais --chains 0", "Invalid value for '--chains'"),
    ("loglik RUN --data OWN --method exact --max-terms 9", "raise max_terms"),
    ("loglik RUN --data OWN --method exact --max-terms 0", "Invalid value for '--max-terms'"),
    ("draw RUN --out NEW --restart 2", "restart must be from 0 to 1, got 2"),
    ("draw RUN --out NEW --restart=-1", "Invalid value for '--restart'"),
    # devices
    ("fit OWN --sizes 4 --device meta", "--device must be cpu, cuda or one of several as cuda:1; got 'meta'"),
    ("fit OWN --sizes 4 --device mps", "--device must be cpu, cuda or one of several as cuda:1; got 'mps'"),
    ("fit OWN --sizes 4 --device xla", "--device must be cpu, cuda or one of several as cuda:1; got 'xla'"),
    ("fit OWN --sizes 4 --device EMPTY", "--device must be cpu, cuda or one of several as cuda:1; got ''"),
    ("fit OWN --sizes 4 --device cuda:999", "device 'cuda:999' can't be used here"),
    ("compare OWN --sizes 4 --device gpu", "--device must be cpu, cuda or one of several as cuda:1; got 'gpu'"),
    # where results go
    ("fit OWN --sizes 4 --out EMPTY", "--out is empty, expected a folder"),
    ("compare OWN --sizes 4 --out EMPTY", "--out is empty, expected a folder"),
    ("draw RUN --out EMPTY", "--out is empty, expected a folder"),
    ("loglik RUN --data OWN --out EMPTY", "--out is '', expected the beginning of a file's name"),
    ("loglik RUN --data OWN --out HERE/", "expected the beginning of a file's name"),
    ("fit OWN --sizes 4 --out OWN", "must be a folder, but"),
    ("compare OWN --sizes 4 --out OWN", "must be a folder, but"),
    ("draw RUN --out OWN", "must be a folder, but"),
    ("fit OWN --sizes 4 --out OWN/deeper/still", "must be a folder, but"),
    ("loglik RUN --data OWN --out OWN/scores", "must be a folder, but"),
    ("loglik RUN --data OWN --out TAKEN", ".parquet is a folder"),
    ("fit OWN --sizes 4 --out LONG", "can't be a folder here"),
    ("fit OWN --sizes 4 --out ~nobody_of_this_name/x", "that user has no home folder"),
    ("loglik RUN --data OWN --resume EMPTY", "--resume is empty, expected a folder"),
    ("loglik RUN --data OWN --resume OWN", "must be a folder, but"),
    # data
    ("fit missing.npy --sizes 4", "missing.npy does not exist"),
    ("fit ~nobody_of_this_name/x.npy --sizes 4", "that user has no home folder"),
    ("fit HERE --sizes 4", "is a folder, expected a file"),
    ("fit HERE/a.txt --sizes 4", "ends in '.txt', expected .npz, .npy, .csv"),
    ("fit HERE/empty.csv --sizes 4", "is empty, expected rows of 0 and 1"),
    ("fit HERE/empty.npy --sizes 4", "is empty, expected rows of 0 and 1"),
    ("fit HERE/text.npy --sizes 4", "is not readable"),
    ("fit HERE/text.npz --sizes 4", "is not readable"),
    ("fit HERE/objects.npy --sizes 4", "has dtype object"),
    ("fit HERE/huge.npy --sizes 4", "but a data file may hold 2.0 GiB at most"),
    ("fit HERE/bomb.npz --sizes 4", "but a data file may hold 2.0 GiB at most"),
    ("fit HERE/halves.npy --sizes 4", "has 0.5 at row 0, column 0 (counted from 0), expected 0 or 1"),
    ("fit HERE/nan.npy --sizes 4", "has nan at row 0, column 0"),
    ("fit HERE/flat.npy --sizes 4", "expected two dimensions"),
    ("fit HERE/sparse.npz --sizes 4", "holds a sparse matrix"),
    ("fit HERE/two.csv --sizes 4", "has too few rows to split"),
    ("fit HERE/index.csv --sizes 4", "has too few rows to split"),
    ("fit HERE/either.csv --sizes 4", "which may be names"),
    ("fit HERE/[/red].csv --sizes 4", "does not exist"),
    ("fit HERE/device.npy --sizes 4", "is not a regular file"),
    ("compare HERE/halves.npy --sizes 4", "has 0.5 at row 0"),
    ("loglik RUN --data HERE/halves.npy", "at row 0, column 0 (counted from 0), expected 0 or 1"),
    ("loglik RUN --data bars", "12"),
    ("draw RUN --out NEW --data bars", "bars has width 16, but the machine has 12 visible units"),
    # machines
    ("loglik missing --data OWN", "there is no machine at missing"),
    ("draw HERE --out NEW", "there is no machine at"),
    ("loglik RUN --data OWN --against missing", "there is no machine at missing"),
    ("loglik HERE/device.npy --data OWN", "there is no machine at"),
    ("loglik HERE/a.txt --data OWN", "is not a machine that save() or fit(out=...) wrote"),
    ("draw HERE/empty.npy --out NEW", "is not a machine that save() or fit(out=...) wrote"),
    ("loglik MACHINES/no-model --data OWN", "no 'model' in it"),
    ("loglik MACHINES/no-class --data OWN", "its header must give class and config of the model"),
    ("loglik MACHINES/no-config --data OWN", "its header must give class and config of the model"),
    ("loglik MACHINES/null --data OWN", "its header must give class and config of the model"),
    ("loglik MACHINES/null-class --data OWN", "holds no model"),
    ("loglik MACHINES/null-config --data OWN", "not one of this library's classes"),
    ("loglik MACHINES/list --data OWN", "its header must give class and config of the model"),
    ("loglik MACHINES/nested --data OWN", "is not a machine that save() or fit(out=...) wrote"),
    ("loglik MACHINES/huge --data OWN", "but its header asks for at least"),
    ("loglik MACHINES/words --data OWN", "expected positive integers"),
    ("loglik MACHINES/other-class --data OWN", "is a Linear, which is not one of this library's classes"),
    ("loglik MACHINES/other-sizes --data OWN", "has shape"),
    ("loglik MACHINES/no-tensors --data OWN", "has 0 numbers, but its header asks for at least"),
    ("loglik MACHINES/integers --data OWN", "has parameters of int64"),
    ("loglik MACHINES/nan --data OWN", "is NaN in"),
    ("draw MACHINES/nan --out NEW", "is NaN in"),
    ("draw MACHINES/huge --out NEW", "but its header asks for at least"),
    ("loglik MACHINES/cut --data OWN", "is not a machine that save() or fit(out=...) wrote"),
    ("loglik MACHINES/no-guide --data OWN", "needs a guide to draw from, got None"),
    # folders to resume from
    ("loglik RUN --data OWN --resume RESUME/cut", "is not a chunk of this estimate: it can't be read"),
    ("loglik RUN --data OWN --resume RESUME/rows", "but should be [restarts, 40]"),
    ("loglik RUN --data OWN --resume RESUME/names", "it should have log_likelihood"),
    ("loglik RUN --data OWN --resume RESUME/words", "is damaged"),
    ("loglik RUN --data OWN --resume RESUME/list", "is damaged (it holds no settings)"),
    ("loglik RUN --data OWN --resume RESUME/nested", "is damaged"),
    ("loglik RUN --data OWN --resume RESUME/lost", "holds chunks, but no settings.json"),
    ("loglik RUN --data OWN --resume RESUME/good --samples 60", "holds chunks of another estimate"),
]  # fmt: skip


def called(*arguments: str | Path) -> tuple[int, str]:
    """Exit status and all that was shown, without the frames of boxes."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(re.sub("[│╭╮╰╯─]", " ", result.output).split())


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the words in capitals of the table stand for."""
    here = tmp_path_factory.mktemp("misuse")
    write_data(here)
    write_machines(here / "machines")
    run = here / "run"
    run.mkdir()
    helm.save(run, *machine())
    write_resume_folders(here, helm.load_data(here / "own.npy").test)
    (here / "taken.parquet").mkdir()
    return {
        "OWN": str(here / "own.npy"),
        "RUN": str(run),
        "HERE": str(here),
        "MACHINES": str(here / "machines"),
        "RESUME": str(here / "resume"),
        "TAKEN": str(here / "taken"),
        "LONG": str(here / ("x" * 300)),
        "NINES": "9" * 5000,
        "EMPTY": "",
    }


@pytest.mark.parametrize(("command", "sentence"), MISUSES, ids=[command for command, _ in MISUSES])
def test_a_misuse_is_answered_in_a_sentence(
    command: str, sentence: str, places: dict[str, str], tmp_path: Path
) -> None:
    places = places | {"NEW": str(tmp_path / "new")}
    arguments = [re.sub("[A-Z]{3,}", lambda word: places.get(word[0], word[0]), part) for part in command.split()]
    if arguments[0] in ("fit", "compare") and "--out" not in arguments:
        arguments += ["--out", places["NEW"]]
    status, shown = called(*arguments)
    assert status != 0
    assert sentence in shown
    assert "Traceback" not in shown
    assert len(shown) < 900
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.filterwarnings("ignore:.*restarts .* failed:RuntimeWarning")
@pytest.mark.parametrize("command", ["fit", "compare"])
def test_a_training_whose_restarts_all_fail_has_an_exit_status(
    command: str, places: dict[str, str], tmp_path: Path
) -> None:
    quick = [*QUICK, "--learning-rate", "1e39"]  # beyond float32
    status, shown = called(command, places["OWN"], "--sizes", "4", "--out", tmp_path / "out", *quick)
    assert status == 1
    assert "every restart failed, so nothing was learned" in shown


@pytest.mark.filterwarnings("always:model parameter .* is infinite:RuntimeWarning")
def test_scores_that_are_all_nan_have_an_exit_status(places: dict[str, str], tmp_path: Path) -> None:
    model, guide = machine()
    with torch.no_grad():
        model.generative[0].learned_leak_unconstrained.fill_(torch.inf)
    helm.save(tmp_path / "infinite", model, guide)
    status, shown = called("loglik", tmp_path / "infinite", "--data", places["OWN"], "--method", "exact")
    assert status == 1
    assert re.search("pyro-helm: warning: model parameter .* is infinite in 24 of 24 places", shown)
    assert "no restart has a finite log-likelihood" in shown
