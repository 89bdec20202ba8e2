"""The figures of the self-map view's ledger rows come out again."""

from ledger_selfmap import joint_term, posterior_term


def test_figures():
    shifts = (0.0, 5.0, 50.0)
    assert [round(posterior_term(s), 5) + 0.0 for s in shifts] == [-0.26983, -0.00033, 0.0]
    assert [round(joint_term(s), n) for s, n in zip(shifts, (5, 5, 3))] == [-1.8142, -10.11209, -1202.612]
