"""The gallery: every figure of ``helm.plots`` with the code that made it.

python docs/gallery_page.py            # trains a small machine, renders docs/figures/gallery/*.png, writes gallery.md
python docs/gallery_page.py --check    # renders nothing; exits with 1 if docs/gallery.md is out of date
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import typer

import pyro_helm as helm

FOLDER = Path(__file__).resolve().parent
PAGE, FIGURES = "gallery.md", "figures/gallery"


class Entry(NamedTuple):
    """One figure: its name, what a reader sees in it, and the code that makes it."""

    title: str
    name: str
    text: str
    code: str


MACHINE = """import torch
import pyro_helm as helm
from sklearn.datasets import load_digits

pixels, labels = load_digits(return_X_y=True)
x = torch.tensor(pixels >= 8, dtype=torch.float32)
train, valid, test = x[:1200], x[1200:1400], x[1400:]
model = helm.BeliefNetwork((64, 12, 4), restarts=4, seed=0)
guide = helm.FactorialRecognition((64, 12, 4), restarts=4, seed=0)
result = helm.fit(model, guide, train, scheme=helm.VIMCO(5), valid=valid, num_epochs=40, progress=False)
best = int(result.summary.best.idxmax())"""

ENTRIES = [
    Entry(
        "Learning curves of one training",
        "training_curves",
        "Every metric over the epochs. A validation log-likelihood that falls while the training bound rises means "
        "overfitting. A bound far below the log-likelihood means that the guide is poor.",
        "figure = result.plot()",
    ),
    Entry(
        "Weights",
        "weight_diagram",
        "For each unit of the first hidden layer: its recognition weights (left) and its generative weights (right), "
        "as images. Biases are at the right.",
        "figure = helm.plots.weight_diagram(model, guide, restart=best, image_shape=(8, 8))",
    ),
    Entry(
        "Dreams",
        "dream_sheet",
        "Data above, dreams below. The dreams of a good model look like data.",
        """torch.manual_seed(0)
with torch.no_grad():
    dreams = model(num_data=20)[best]
figure = helm.plots.dream_sheet({"data": test[:20], "dreams": dreams}, image_shape=(8, 8))""",
    ),
    Entry(
        "Reconstructions",
        "reconstruction_sheet",
        "What the hidden code keeps of a datum: the mean picture given the code, and a dream from one draw of the "
        "code.",
        "figure = helm.plots.reconstruction_sheet(model, guide, test[:10], image_shape=(8, 8), restart=best)",
    ),
    Entry(
        "Posterior beside recognition",
        "posterior_chart",
        "Bars are the exact posterior of one case, dots are recognition. Where a dot is not at the top of its bar, the "
        "guide misses the posterior.",
        """posterior = helm.exact_posterior(model, guide, test[:3])
figure = helm.plots.posterior_chart(posterior, guide, datum=1, restart=best, image_shape=(8, 8))""",
    ),
    Entry(
        "Hidden codes by label",
        "code_map",
        "The machine has seen no labels. Digits that lie apart have different codes.",
        "figure = helm.plots.code_map(model, guide, test, labels[1400:], restart=best)",
    ),
    Entry(
        "The sandwich of bounds",
        "bound_sandwich",
        "Lower and upper bounds on log p(x) of dreams. Where they meet, estimates for this model can be trusted.",
        """gap = helm.log_likelihood_gap(model, guide, num_data=50, num_samples=10, schedule=100)
figure = helm.plots.bound_sandwich(gap)""",
    ),
    Entry(
        "Schemes compared",
        "learning_curves",
        "One panel per imaging model, one colour per scheme, bands over restarts.",
        """comparison = helm.compare(
    helm.load_data("bars"),
    schemes=[helm.WakeSleep(), helm.VIMCO(5)],
    sizes=(16, 8),
    imaging=["sigmoid", "noisy_or"],
    restarts=4,
    num_epochs=10,
    num_samples=100,
    batch_size=500,
    progress=False,
)
figure = helm.plots.learning_curves(comparison.table)""",
    ),
    Entry(
        "Sensitivity to a setting",
        "setting_sensitivity",
        "How much each scheme depends on its learning rate, from the table of a study. A ring marks the best value.",
        """# study = helm.Study.open("studies/bars"); table = study.table()
import pandas as pd

rates = {0.003: (-9.1, -8.2), 0.01: (-8.3, -7.9), 0.03: (-8.0, -7.8), 0.1: (-9.6, -8.4)}
table = pd.DataFrame(
    {
        "dataset": "bars",
        "machine": "sigmoid 8",
        "budget": "10 epochs",
        "scheme": scheme,
        "split": "valid",
        "metric": "log_likelihood",
        "learning_rate": rate,
        "restart": restart,
        "value": value + 0.1 * restart,
    }
    for rate, values in rates.items()
    for scheme, value in zip(("wake_sleep", "vimco"), values)
    for restart in range(4)
)
figure = helm.plots.setting_sensitivity(table, "learning_rate")""",
    ),
]  # fmt: skip


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Render nothing; exit with 1 if the page is out of date.")
    ] = False,
) -> None:
    """Render the gallery, or check that its page is up to date."""
    if check:
        current = (FOLDER / PAGE).read_text() == page()
        if not current:
            typer.echo(f"docs/{PAGE} is out of date; run python docs/gallery_page.py", err=True)
        raise typer.Exit(0 if current else 1)
    (FOLDER / FIGURES).mkdir(exist_ok=True, parents=True)
    names: dict[str, object] = {}
    exec(MACHINE, names)
    for entry in ENTRIES:
        exec(entry.code, names)
        helm.plots.save_figure(names["figure"], FOLDER / FIGURES / f"{entry.name}.png")  # type: ignore[arg-type]
    (FOLDER / PAGE).write_text(page())


def page() -> str:
    """The text of the gallery."""
    parts = [
        "<!-- Written by docs/gallery_page.py; change the entries there and run it again. -->\n# Gallery",
        "Every function of `helm.plots` returns a matplotlib figure. Give `ax=` to draw on your own axes. Data "
        "may be whatever `fit` takes. `helm.plots.save_figure(figure, path)` writes a file.",
        "`result.plot()`, `dream_sheet`, `reconstruction_sheet`, `posterior_chart` and `code_map` take any model and "
        "guide, also your own. `weight_diagram` and\n`bound_sandwich` need a `BeliefNetwork`.",
        "The pictures below are of a small machine for digits:",
        f"```python\n{MACHINE}\n```",
    ]
    for entry in ENTRIES:
        parts += [f"## {entry.title}", entry.text, f"```python\n{entry.code}\n```",
                  f"![{entry.title}]({FIGURES}/{entry.name}.png)"]  # fmt: skip
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    typer.run(main)
