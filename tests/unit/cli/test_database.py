"""The command for the database."""

from __future__ import annotations


def test_the_database_is_upgraded(line, folder, monkeypatch):
    """The migrations run, twice without harm, and the revision is printed; a new database needs a restart."""
    monkeypatch.setenv("FLUXVISION_DATA_DIR", str(folder / "data"))
    for is_new in (True, False):
        assert line("db", "upgrade") == 0
        assert line.out == "The database is at revision 0001.\n"
        assert ("must be restarted" in line.err) == is_new


def test_without_a_database(line, monkeypatch):
    """Where the settings name no database, the error names the settings."""
    monkeypatch.delenv("FLUXVISION_DATA_DIR", raising=False)
    monkeypatch.delenv("FLUXVISION_DATABASE_URL", raising=False)
    assert line("db", "upgrade") == 2
    assert "FLUXVISION_DATA_DIR or FLUXVISION_DATABASE_URL" in line.err
