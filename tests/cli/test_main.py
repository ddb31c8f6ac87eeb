"""What the command line is given and cannot use ends in a line."""

import pytest

from kanbench.cli.main import main


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5"])
def test_threads_are_counted(threads, capsys):
    with pytest.raises(SystemExit):
        main(["train", "section2_1_20260101_000000_e2_lm_0", "--threads", threads])
    assert f"argument --threads: found {threads!r}; allowed: an integer from 1 on" in capsys.readouterr().err
