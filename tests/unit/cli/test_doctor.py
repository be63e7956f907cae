"""`fluxvision doctor` with findings that are given, and with those of this machine."""

from __future__ import annotations

import json
import shutil

import pytest

from fakes.cli_gateway import Gateway, dependencies
from fluxvision import diagnosis
from fluxvision.cli import run_cli
from fluxvision.cli.dependencies import Finding
from fluxvision.cli.doctor import format_findings
from fluxvision.core.load_settings import load_settings
from fluxvision.engine.backends import registry, weight_files

FINDINGS = (
    Finding("Machine", "memory", "16.0 GB"),
    Finding("Engines", "span", "works", essential=True),
    Finding("Engines", "realsr", "not installed", ok=False, command="pip install x"),
)


@pytest.fixture
def examined(monkeypatch):
    """The findings of this machine by section and name, under given settings."""
    monkeypatch.setattr(diagnosis, "SIDES", (16, 8))

    def examine(**variables):
        settings = load_settings({f"FLUXVISION_{name}": value for name, value in variables.items()})
        return {(one.section, one.name): one for one in diagnosis.diagnose(settings)}

    return examine


def test_findings_are_aligned_and_what_is_missing_is_marked():
    """A paragraph per section; the command stands behind what it brings."""
    assert format_findings(FINDINGS) == (
        "Machine\n  memory  16.0 GB\n\nEngines\n  span    works\n! realsr  not installed: pip install x"
    )


@pytest.mark.parametrize(("works", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_is_that_of_the_default_engine(works, code, folder, capsys):
    """What is not essential may be missing; --json says the same."""
    assert folder
    found = (*FINDINGS, Finding("Engines", "default", "", ok=works, essential=True))
    assert run_cli(["doctor", "--json"], dependencies(Gateway(), findings=found)) == code
    told = json.loads(capsys.readouterr().out)
    assert told["healthy"] is works
    assert told["findings"][2]["command"] == "pip install x"


def test_this_machine(examined):
    """The default engine is run and its speed is told; a key is neither shown nor used."""
    found = examined(API_KEYS="sk-secret-1234")
    assert found["Engines", "span"].ok
    assert found["Engines", "span"].value.endswith(" MP/s")
    assert "runs on " in found["Engines", "span"].value
    assert found["Providers", "embedded"].ok
    assert "sk-secret-1234" not in str(found)


def test_what_is_missing_comes_with_its_command(examined, monkeypatch):
    """An engine and an extra that are not installed name the command of pip."""
    monkeypatch.setattr(registry.Backend, "installed", property(lambda row: row.package is None))
    monkeypatch.setattr(diagnosis, "find_spec", lambda _name: None)
    found = examined()
    for one in (found["Engines", "realsr"], found["Extras", "realsr"]):
        assert (one.ok, one.command) == (False, "pip install 'fluxvision[realsr]'")


@pytest.mark.parametrize("network", ["4xSPANkendata", "4xSPANkendata_restored", "span_x2", "span_x2_restored"])
def test_damaged_weights_of_the_default_engine_are_essential(examined, monkeypatch, tmp_path, network):
    """The finding says what to install again, and where nothing works the command ends with 1."""
    shutil.copytree(weight_files.OWN, tmp_path / "data")
    path = tmp_path / "data" / f"{network}.bin"
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr(weight_files, "OWN", tmp_path / "data")
    one = examined()["Engines", "span"]
    assert (one.ok, one.essential, one.command) == (False, True, "pip install --force-reinstall fluxvision")


def test_a_gpu_that_is_not_there_is_no_reason_to_reinstall(examined):
    """The finding names the setting."""
    one = examined(DEVICE="gpu:99")["Engines", "span"]
    assert (one.ok, one.command) == (False, "")
    assert one.value.startswith("device: there is no gpu:99")


def test_a_licence_of_flux_that_was_not_agreed_to_is_told(examined, monkeypatch):
    """Before the first request, and before the weights are looked for."""
    monkeypatch.setattr(diagnosis, "need_extra", lambda: None)
    asked = {"FLUX_MODEL": "/srv/nowhere", "FLUX_ENGINE": "flux1-dev"}
    one = examined(**asked)["Providers", "flux weights"]
    assert (one.ok, "used only after that was agreed to" in one.value) == (False, True)
    agreed = examined(**asked, FLUX_LICENCE_AGREED="true")["Providers", "flux weights"]
    assert (agreed.ok, "not on this machine" in agreed.value) == (False, True)


def test_networks_of_ones_own_are_examined(examined, tmp_path):
    """Each is listed with its factor, or with why it cannot be used."""
    lines = ["7767517", "2 2", "Input data 0 1 data", "Interp up 1 1 data out 0=1 1=2.0 2=2.0", ""]
    (tmp_path / "twice.param").write_text("\n".join(lines))
    (tmp_path / "broken.param").write_text("hello")
    for name in ("twice", "broken"):
        (tmp_path / f"{name}.bin").touch()
    found = examined(MODELS_DIR=str(tmp_path))
    assert found["Engines", "twice"].value == "a network of your own, enlarges 2 times"
    assert not found["Engines", "broken"].ok


def test_a_data_folder_that_cannot_be_written_is_told(examined, monkeypatch):
    """The line is marked."""
    monkeypatch.setattr(diagnosis.os, "access", lambda *_: False)
    assert not examined(DATA_DIR="/srv/nowhere")["Machine", "data folder"].ok
