"""The form of every ledger check: a residual that the true statement passes and every wrong one fails by far."""


def assert_ledger(residual, true, wrong, tol):
    """Assert ``|residual(true)| <= tol`` and ``|residual(statement)| >= 100 * tol`` for each wrong statement.

    Parameters
    ----------
    residual : callable
        statement -> float: by how much the statement is violated.
    true : statement
    wrong : dict of str -> statement
        At least one: the document's misprint where there is one, else a flipped sign, a dropped constant.
    tol : float
    """
    assert wrong, "a check needs at least one wrong statement beside the true one"
    off = abs(float(residual(true)))
    assert off <= tol, f"the true statement is off by {off:.3g}, tolerance {tol:g}"
    for name, statement in wrong.items():
        off = abs(float(residual(statement)))
        assert off >= 100 * tol, (
            f"the wrong statement {name!r} is off by only {off:.3g}: it must be at least {100 * tol:g}"
        )
