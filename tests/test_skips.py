"""CI's list of allowed skips: a skip whose reason is not on it fails the session."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]
SKIPPED = """
import pytest

def test_passes():
    pass

@pytest.mark.skipif(True, reason="needs the shared data at /somewhere")
def test_allowed():
    pass

@pytest.mark.xfail
def test_known_to_fail():
    assert False
"""
MARKED = "\n@pytest.mark.skipif(True, reason='needs a chromium binary')\ndef test_b():\n    pass\n"
CALLED = "\ndef test_b():\n    pytest.skip('needs a chromium binary')\n"
MODULE = "\npytest.skip('needs a chromium binary', allow_module_level=True)\n"


@pytest.mark.parametrize(("more", "status"), [("", 0), (MARKED, 1), (CALLED, 1), (MODULE, 1)])
def test_a_skip_that_is_not_on_the_list_fails_the_session(
    more: str, status: int, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = pytester.path / "skips.txt"
    allowed.write_text("# a comment\n\nneeds the shared data at *\n")
    monkeypatch.setenv("DISTILL_ALLOWED_SKIPS", str(allowed))
    pytester.makepyfile(test_of_skips=SKIPPED + more)
    result = pytester.runpytest_inprocess("-p", "tests.skips", "-p", "no:cacheprovider")
    assert result.ret == status
    assert ("needs a chromium binary" in result.stdout.str()) == bool(more)
    assert "needs the shared data" not in result.stdout.str()
