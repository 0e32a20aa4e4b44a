"The observers of a run go into files and come back"
import torch
from click.testing import CliRunner
from conftest import TINY
from dc_nb import runs
from dc_nb.cli import main
from dc_nb.edc_runs import Edc, EdcRun
import dc_nb.set_commands  # noqa: F401  registers `export`

def test_observers_of_a_run_are_files_for_another(tmp_path):
    run = EdcRun(Edc(**TINY, out=str(tmp_path/'out')))
    row = run.results()['row']
    runs.keep(run, runs.signed(run.main_set(), run, row, *run.signs), row)
    file = run.folder/f'{run.folder.name}.safetensors'
    r = CliRunner().invoke(main, ['export', str(file), '--observers', str(tmp_path/'nets')], prog_name='dc_nb')
    assert r.exit_code == 0 and len(r.output.split()) == 2, r.output
    other = EdcRun(Edc(**{**TINY, 'weights':str(tmp_path/'nets')}, out=str(tmp_path/'other')))
    for name in run.study.observers:
        (a,acc),(b,again) = run.get(run.network(name)), other.get(other.network(name))
        assert all(torch.equal(x.half(), y.half()) for x,y in zip(a.state_dict().values(), b.state_dict().values())) and abs(acc-again) < .02
    (moved := tmp_path/'elsewhere'/'set.safetensors').parent.mkdir()
    moved.write_bytes(file.read_bytes())
    r = CliRunner().invoke(main, ['export', str(moved), '--observers', str(tmp_path/'nets2')], prog_name='dc_nb')
    assert r.exit_code == 1 and 'cache is not there: give the set in the folder of its run' in r.output
    assert not (tmp_path/'cache').exists()                                      # nothing is made beside a stranger's set
    (tmp_path/'cache').mkdir()
    r = CliRunner().invoke(main, ['export', str(moved), '--observers', str(tmp_path/'nets2')], prog_name='dc_nb')
    assert r.exit_code == 1 and 'the set was not made there' in r.output and not list((tmp_path/'cache').iterdir())
