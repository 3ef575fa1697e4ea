"""The command line ``pyro-helm``: it parses, calls the library, prints and draws.

Commands import what they run, so that help does not wait for torch.
"""

from __future__ import annotations

from typing import Annotated

import typer

import pyro_helm as helm
from pyro_helm.cli.completion import data_names, imaging_names, scheme_names
from pyro_helm.cli.ends import end_of_fit
from pyro_helm.cli.errors import INTERRUPTED, fail, one_sentence_errors
from pyro_helm.cli.options import (
    DATA_HELP,
    AdamBatchSize,
    AdamLearningRate,
    Against,
    BatchSize,
    Chains,
    DataName,
    Device,
    Epochs,
    FixedLeak,
    GoOn,
    LearningRate,
    MaxTerms,
    Method,
    OnDistribution,
    Optimizer,
    OutStem,
    Overwrite,
    Particles,
    Patience,
    Restarts,
    Resume,
    Run,
    Samples,
    SaveEvery,
    Schedule,
    Seconds,
    Seed,
    Sizes,
    Start,
    StepKind,
    Steps,
    Workers,
)
from pyro_helm.cli.stages import (
    FirstEpochs,
    FirstLearningRate,
    FirstScheme,
    HiddenLeak,
    LayerByLayer,
    RecognitionBias,
    biases,
    first_stages,
    hidden_leaks,
    train,
)
from pyro_helm.cli.values import (
    check_imaging,
    check_method,
    check_step,
    checked_leak,
    checked_learning_rate,
    checked_sizes,
    chosen_device,
    chosen_names,
    descent_settings,
    distribution_of,
    imaging_models,
    new_scheme,
    output_folder,
    output_stem,
    resume_folder,
)

app = typer.Typer(
    name="pyro-helm",
    help="Train and compare Helmholtz machines, and estimate their log-likelihoods. All log-likelihoods and bounds are "
    "in nats per datum; higher is better.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def fit(
    data: DataName,
    sizes: Sizes,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the machine and its history.")],
    scheme: Annotated[
        str, typer.Option(metavar="NAME", help="Inference scheme.", autocompletion=scheme_names)
    ] = "reweighted_wake_sleep",
    imaging: Annotated[
        str, typer.Option(metavar="NAME", help="sigmoid, noisy_or or odds.", autocompletion=imaging_names)
    ] = "sigmoid",
    fixed_leak: FixedLeak = None,
    particles: Particles = 5,
    restarts: Restarts = 8,
    epochs: Epochs = 50,
    seconds: Seconds = None,
    batch_size: AdamBatchSize = None,
    optimizer: Optimizer = "adam",
    learning_rate: AdamLearningRate = None,
    on_distribution: OnDistribution = False,
    schedule: Schedule = None,
    patience: Patience = None,
    layer_by_layer: LayerByLayer = None,
    first_scheme: FirstScheme = None,
    first_epochs: FirstEpochs = None,
    first_learning_rate: FirstLearningRate = None,
    recognition_bias: RecognitionBias = None,
    hidden_leak: HiddenLeak = None,
    step: StepKind = None,
    seed: Seed = 0,
    device: Device = "cpu",
    resume: GoOn = False,
    save_every: SaveEvery = 60.0,
    overwrite: Overwrite = False,
) -> None:
    """Train one machine with many restarts and keep the best of each.

    Exit status: 0 finished; 1 every restart failed, or it could not be saved; 2 wrong input; 3 some restarts failed;
    130 ended by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP, in all three cases saved.

    For example:

    \b
    pyro-helm fit shifter --sizes 24-2 --imaging odds --out runs/odds
    pyro-helm fit digits --sizes 32-16 --scheme vimco --out runs/digits
    pyro-helm fit shifter --sizes 24-2 --imaging odds --layer-by-layer 4 --first-scheme mean_field
        --recognition-bias -3,0 --out runs/by_layer
    pyro-helm fit shifter --sizes 24-2 --on-distribution --scheme mean_field
        --optimizer conjugate_gradient --out runs/deterministic
    """
    from pyro_helm.experiments.console import print_table
    from pyro_helm.guides import FactorialRecognition
    from pyro_helm.models import BeliefNetwork

    with one_sentence_errors():
        folder, device = output_folder(out), chosen_device(device)
        check_imaging(imaging)
        check_step(step)
        chosen, settings = new_scheme(scheme, particles), descent_settings(optimizer, batch_size, learning_rate)
        loaded = helm.load_data(data)
        draws, rows = particles if chosen.samples else 1, settings["batch_size"]
        layers = checked_sizes(sizes, loaded, restarts=restarts, particles=draws, batch_size=rows, device=device)
        first = first_stages(
            layers, chosen, particles, layer_by_layer=layer_by_layer, name=first_scheme, epochs=first_epochs,
            learning_rate=first_learning_rate,
        )  # fmt: skip
        leaks = {"fixed_leak": checked_leak(fixed_leak), "initial_leak": hidden_leaks(hidden_leak, layers)}
        result = train(
            BeliefNetwork(layers, imaging, restarts=restarts, seed=seed, **leaks),
            FactorialRecognition(layers, restarts=restarts, seed=seed, initial_bias=biases(recognition_bias, layers)),
            distribution_of(loaded) if on_distribution else loaded.train,
            valid=loaded.valid,
            scheme=chosen,
            first=first,
            num_epochs=epochs,
            max_seconds=seconds,
            **settings,
            schedule=schedule,
            patience=patience,
            step=step,
            seed=seed,
            device=device,
            dataset=loaded.name,
            out=folder,
            resume=resume,
            save_every=save_every,
            overwrite=overwrite,
        )
        if result.history.empty:
            fail(f"interrupted before the first epoch was over; --resume goes on in {folder}", INTERRUPTED)
        print_table(
            result.summary.rename(columns={"best": "valid_log_likelihood"}),
            f"{loaded.name}, best validation log-likelihood in nats per datum{' (interrupted)' * result.interrupted}",
        )
        end_of_fit(result, folder)


@app.command()
def compare(
    data: DataName,
    sizes: Sizes,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the tables, the figures and the machines.")],
    schemes: Annotated[
        str, typer.Option(metavar="NAMES", help="Inference schemes, separated by commas, or all.")
    ] = "reinforce,wake_sleep,reweighted_wake_sleep",
    imaging: Annotated[
        str, typer.Option(metavar="NAMES", help="Imaging models, separated by commas, or all.")
    ] = "sigmoid",
    fixed_leak: FixedLeak = None,
    particles: Particles = 5,
    restarts: Restarts = 8,
    epochs: Epochs = 50,
    seconds: Seconds = None,
    batch_size: BatchSize = 100,
    learning_rate: LearningRate = 0.01,
    schedule: Schedule = None,
    patience: Patience = None,
    step: StepKind = None,
    samples: Samples = 1000,
    workers: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Processes that train at once, one thread each.")
    ] = 1,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Train with several schemes and imaging models; print one table, write it and figures to --out.

    Writes results.parquet and results.csv (tidy: every epoch, restart and metric), summary.csv, learning_curves.png,
    and for the best machine of each imaging model weights and dreams. The same command goes on where it was ended.

    For example:

    \b
    pyro-helm compare digits --sizes 32-16 --imaging all --out results/digits
    """
    from pyro_helm.cli.studies import end_of_comparison
    from pyro_helm.experiments.console import print_summary
    from pyro_helm.experiments.report import write_report

    with one_sentence_errors():
        folder, device = output_folder(out), chosen_device(device)
        rules = imaging_models(imaging)
        check_step(step)
        chosen = [new_scheme(name, particles) for name in chosen_names(schemes, helm.SCHEMES, "scheme")]
        loaded = helm.load_data(data)
        draws = particles if any(scheme.samples for scheme in chosen) else 1
        layers = checked_sizes(sizes, loaded, restarts=restarts, particles=draws, batch_size=batch_size, device=device)
        comparison = helm.compare(
            loaded,
            schemes=chosen,
            sizes=layers,
            imaging=rules,
            fixed_leak=checked_leak(fixed_leak),
            restarts=restarts,
            num_samples=samples,
            seed=seed,
            out=folder,
            workers=workers,
            num_epochs=epochs,
            max_seconds=seconds,
            batch_size=batch_size,
            learning_rate=checked_learning_rate(learning_rate),
            schedule=schedule,
            patience=patience,
            step=step,
            device=device,
        )
        write_report(comparison, loaded, folder)
        print_summary(comparison.summary, interrupted=comparison.interrupted)
        typer.echo(f"tables, figures and machines: {folder}")
        end_of_comparison(comparison)


@app.command()
def loglik(
    run: Run,
    data: Annotated[str, typer.Option(metavar="DATA", help=DATA_HELP, autocompletion=data_names)],
    method: Method = "importance",
    samples: Samples = 1000,
    chains: Chains = 16,
    steps: Steps = 1000,
    start: Start = "guide",
    against: Against = None,
    resume: Resume = None,
    max_terms: MaxTerms = None,
    seed: Seed = 0,
    out: OutStem = None,
) -> None:
    """Log-likelihood of a trained machine on the test cases, or on the exact distribution where there is one.

    With --against, the differences between the restarts of two machines, with the standard error of paired
    differences.

    For example:

    \b
    pyro-helm loglik runs/odds --data shifter --against runs/deterministic
    """
    from pyro_helm.experiments.console import print_scores, print_table
    from pyro_helm.experiments.scoring import cases_to_score
    from pyro_helm.runtime.tables import write_table

    with one_sentence_errors():
        check_method(method, start)
        stem = None if out is None else output_stem(out)
        kept = None if resume is None else resume_folder(resume)
        loaded = helm.load_data(data)
        cases, weights = cases_to_score(loaded)
        what = "its exact distribution" if weights is not None else f"its {len(cases)} test cases"
        # both are loaded before the first is scored, which may take long
        machines = {path: helm.load(path) for path in (run, against) if path is not None}
        scored: list[helm.Scores] = []
        for number, (path, (model, guide)) in enumerate(machines.items()):
            scores = helm.log_likelihood(
                model,
                guide,
                cases,
                method=method,
                num_samples=samples,
                num_chains=chains,
                schedule=steps,
                start=start,
                max_terms=max_terms,
                weights=weights,
                seed=seed,
                resume=None if kept is None else kept / ("against" if number else "run"),
                progress=True,
            )
            scored.append(scores)
            title = f"{loaded.name}, {what}: nats per datum, {method}"
            print_scores(scores, title if against is None else f"{path}: {title}")
            if stem is not None:
                scores.write(f"{stem}-against" if number else stem)
        if against is not None:
            differences = helm.paired_differences(scored[0], scored[-1])
            print_table(differences, "difference, nats per datum: above 0 where RUN is better than --against")
            if stem is not None:
                write_table(differences, f"{stem}-differences")
        if any(scores.summary.log_likelihood.isna().all() for scores in scored):
            fail("no restart has a finite log-likelihood, as the warnings say")


@app.command()
def draw(
    run: Run,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for weights.png and dreams.png.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Data to show beside the dreams. " + DATA_HELP, autocompletion=data_names),
    ] = None,
    restart: Annotated[int, typer.Option(metavar="NUMBER", min=0, help="Which restart to draw.")] = 0,
    seed: Seed = 0,
) -> None:
    """Draw a trained machine: its weights and its dreams.

    For example:

    \b
    pyro-helm draw runs/odds --data shifter --out figures
    """
    from pyro_helm.experiments.report import draw_machine

    with one_sentence_errors():
        folder = output_folder(out)
        model, guide = helm.load(run)
        loaded = None if data is None else helm.load_data(data)
        if guide is None:
            typer.echo("the machine has no guide, so its weights are not drawn, only its dreams", err=True)
        for path in draw_machine(model, guide, folder, data=loaded, restart=restart, seed=seed):
            typer.echo(path)


@app.command()
def study(
    file: Annotated[str, typer.Argument(metavar="STUDY.toml", help="What to train, see docs/studies.md.")],
    out: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Folder for runs and tables.", show_default="STUDY, beside the file"),
    ] = None,
    workers: Workers = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler such as tcp://host:8786, whose workers see the folder."),
    ] = None,
) -> None:
    """Train every run of a study that is not trained yet; print the best setting of each scheme, and the differences.

    The same command goes on where it was ended. Exit status: 0 when all is finished, 1 if every run failed, 3 if some
    did, 130 after Ctrl-C and 143 after SIGTERM.

    For example:

    \b
    pyro-helm study schemes.toml --out results/schemes --workers 2
    """
    from pyro_helm.cli.studies import end_of_study, print_study, run_study
    from pyro_helm.experiments.study_files import study_from_file

    with one_sentence_errors():
        asked = study_from_file(file, None if out is None else output_folder(out))
        run_study(asked, workers, scheduler)
        print_study(asked)
        end_of_study(asked)


@app.command()
def report(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Of a study, or of several copied together.")],
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="File to write.", show_default="report.html in the folder")
    ] = None,
) -> None:
    """Write one page of HTML about a study: the answer, tables that sort, curves, machines, warnings.

    The page holds everything itself, and can be opened, printed and sent as it is.

    For example:

    \b
    pyro-helm report results/schemes
    """
    with one_sentence_errors():
        typer.echo(f"report: {helm.report(folder, out)}")


@app.command("data")
def list_data(
    file: Annotated[str | None, typer.Argument(help="A .csv file, of which is said what was understood.")] = None,
    index: Annotated[str | None, typer.Option(help="Column that names the rows.")] = None,
    missing: Annotated[str, typer.Option(help="More markers of missing values, separated by commas.")] = "",
    header: Annotated[bool | None, typer.Option("--header/--no-header", help="Whether line 1 holds names.")] = None,
) -> None:
    """List the data sets that can be named, or say column by column what a .csv FILE was read as.

    Files are found in the folder PYRO_HELM_DATA. Published sets that are not here are downloaded when they are first
    loaded, into PYRO_HELM_CACHE or the system's folder for caches. Those "by hand" are to be put into PYRO_HELM_DATA.
    """
    from pyro_helm.experiments.console import print_table

    with one_sentence_errors():
        if file is None:
            print_table(helm.available_data(), "data sets")
            return
        markers = [marker for marker in missing.split(",") if marker]
        table = helm.read_table(file, index=index, missing=markers, header=header)
        first = "names" if table.has_names else "data"
        separator = {",": "comma", ";": "semicolon", "\t": "tab"}.get(table.separator, repr(table.separator))
        print_table(
            table.described(),
            f"{file}: {len(table.frame)} rows of {table.frame.shape[1]} units, "
            f"line 1 read as {first}, separated by {separator}",
        )
