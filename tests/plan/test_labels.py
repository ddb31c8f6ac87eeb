"""What problems and model types are called for readers."""

from kanbench.plan.labels import model_label, problem_label, problem_labels
from kanbench.plan.sections import MODEL_TYPES, SECTION_1
from kanbench.problems import PROBLEMS


def test_model_types_have_names_of_their_own():
    labels = [model_label(name) for name in (*MODEL_TYPES, *SECTION_1.model_types)]
    assert len(set(labels)) == len(labels)
    assert (model_label("lbfgs"), model_label("kan_pruning"), model_label("mine")) == ("L-BFGS", "pruned KAN", "mine")


def test_problems():
    assert [problem_label(f"poisson_{d}d_sin") for d in (1, 2, 10)] == ["sin, 1 input", "sin", "sin, 10 inputs"]
    assert problem_label("feynman_08") == "Feynman 08"
    assert problem_label("kan_paper_exp_sin") == "KAN paper: exp sin"
    assert problem_label("initialization_f1") == "f1"
    assert problem_label("my_own") == "my_own"


def test_all_problems_of_the_package_are_told_apart():
    labels = problem_labels(PROBLEMS)
    assert list(labels) == list(PROBLEMS)
    assert len(set(labels.values())) == len(labels)


def test_names_that_would_share_a_label_stay_as_they_are():
    names = ["poisson_2d_sin", "sin", "poisson_2d_poly"]
    assert problem_labels(names) == {"poisson_2d_sin": "poisson_2d_sin", "sin": "sin", "poisson_2d_poly": "poly"}
