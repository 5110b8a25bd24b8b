"""The one exception that a user sees as a single clear line."""

from __future__ import annotations


class HpoptError(Exception):
    """Something the user can mend: bad input, a missing file, an impossible setting.

    Parameters
    ----------
    problem : str
        What is wrong, beginning with the file or setting and the field concerned.
    remedy : str, optional
        What to do about it. The command line shows ``problem; remedy`` on one line.

    Examples
    --------
    >>> print(HpoptError("train.traj: frame 3: energy is NaN", remedy="remove the frame"))
    train.traj: frame 3: energy is NaN; remove the frame
    """

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        self.problem = " ".join(str(problem).split())
        self.remedy = " ".join(str(remedy).split())
        super().__init__(f"{self.problem}; {self.remedy}" if self.remedy else self.problem)
