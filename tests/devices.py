"""What every model is asked on a device: a pretend card, in test_devices.py, or a real one, in test_cuda.py."""

import inspect
import warnings
from copy import deepcopy

import numpy as np
import pytest
import registry
import torch

ROWS = registry.gather("DEVICES")
DRAWS, UNPRETENDED = registry.gather("DRAWS"), registry.gather("UNPRETENDED")
SEARCH = ((3, 0.05),)  # a climb of few steps
ASK = ("transform", "predict", "predict_proba", "predict_log_proba", "score_samples", "impute")


def ask(method, *args, **options):
    """A method's answer; where it climbs, after few steps."""
    steps = {"steps": 3} if "steps" in inspect.signature(method).parameters else {}
    return method(*args, **steps | options)


def answers(name, of, device="auto"):
    """The fitted model, None for a function, and what every public method says, of data that ``of`` makes."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # few steps
        patch.setattr("gaelib.models.generators.SEARCH", SEARCH)
        if callable(ROWS[name]):
            return None, ROWS[name](of, device)
        model, X, *second = ROWS[name]
        model = deepcopy(model).set_params(device=device).fit(*map(of, (X, *second)))
        found = {}
        for method in [getattr(model, name) for name in ASK if hasattr(model, name)]:
            seen = np.where(registry.HOLED, np.nan, X) if method.__name__ == "impute" else X
            found[method.__name__] = ask(method, of(seen))
        if hasattr(model, "embedding_"):
            found["embedding_"] = model.embedding_
        if hasattr(model, "score"):
            found["score"] = model.score(*map(of, (X, *second)))
        if second:
            found["score of pairs"] = model.score_samples(*map(of, (X, *second)))
        if hasattr(model, "inverse_transform") and "transform" in found:
            found["decoded"] = model.inverse_transform(found["transform"])
        if hasattr(model, "sample"):
            found["sample"] = ask(model.sample, 5, random_state=0)
        return model, found


def home(value):
    return value.detach().cpu().numpy() if torch.is_tensor(value) else np.asarray(value)


def placed(what, value, where):
    """Whether an answer is of the caller's kind; a score is a number, and what networks invent is NumPy's."""
    return type(value) is where or what == "score" or (what == "sample" and isinstance(value, np.ndarray))
