"Commands: what each figure was drawn with, what a run takes as parameters, how long runs took."
import ast
import json
import re
from functools import partial
from inspect import cleandoc
from pathlib import Path

from stage import ROOT, PageError, directives, text

def rows(name, results=ROOT/'results')->list:
    "The rows of results/NAME.jsonl; none where there is no such file"
    f = Path(results)/f'{name}.jsonl'
    return [json.loads(l) for l in f.read_text(encoding='utf-8').splitlines() if l.strip()] if f.exists() else []

# --- parameters

def parameters(book)->dict:
    "{name: (type, default, comment)} of the cell of a run notebook that papermill fills"
    cell = next((c for c in book.cells if 'parameters' in c['metadata'].get('tags', ())), None)
    if cell is None: return {}
    source = directives(text(cell))[1]
    said = {l.split(':')[0].strip():l.split('#', 1)[1].strip() for l in source.splitlines() if '#' in l and ':' in l.split('#')[0]}
    return {o.target.id:(ast.unparse(o.annotation), ast.literal_eval(o.value), said.get(o.target.id, ''))
        for o in ast.parse(source).body if isinstance(o, ast.AnnAssign) and o.value is not None}

def cell(v)->str: return str(v).replace('|', r'\|')

def parameter_table(book)->str:
    "The parameters of a run notebook as Markdown"
    lines = [f'| `{k}` | `{d!r}` | {cell(c)} |' for k,(_,d,c) in parameters(book).items()]
    return '\n'.join(['| parameter | default | meaning |', '| --- | --- | --- |', *lines])

# --- the command behind a row

def command(row, defaults, planned=None)->str:
    "The command whose run appended `row`: its parameters that are not the notebook's defaults"
    of = row['run']
    def seeds(): return len(next((s['accuracies'] for s in first_scores(row) if 'accuracies' in s), ()))
    known = dict(row, ablation=row.get('ablation'), seeds=row.get('seeds', seeds()), sizes=sizes(row), compare=compared(row))
    given = [k for k in ('ablation', 'dataset', 'ipc', 'method', 'preset', 'compare', 'sizes', 'runs', 'seeds', 'seed', 'precision') if k in defaults and known.get(k) is not None]
    chosen = {k:known[k] for k in given if known[k] != defaults[k][1]}
    if planned:
        auto = planned(chosen)
        chosen |= {k:row[k] for k,v in auto.items() if row.get(k) is not None and row[k] != v and k in defaults}
    return ' '.join([f'dc_nb run {of}', *(f'-p {k} {v}' for k,v in chosen.items())])

def first_scores(row):
    for s in row.get('scores', {}).values():
        yield s if 'accuracies' in s else next(iter(s.values()), {})

def sizes(row):
    s = row.get('sizes')
    return None if not s or s == list(range(1, row['ipc']+1)) else ','.join(map(str, s))

def compared(row):
    "The baselines of an MDC row, as its parameter says them"
    mine = [k for k in ('A', 'B', 'C', 'MDC') if k in row.get('scores', ())]
    return ','.join(mine) if row['run'] == 'mdc' else None

def planned(run, given)->dict:
    "What the preset chooses for the given parameters where they say nothing: student, epochs, rounds, regime"
    from dc_nb.experiments import Ablation, Edc, Mdc, check, matching_plan, plan
    kind,of = dict(edc=(Edc, plan), ablation=(Ablation, plan), mdc=(Mdc, matching_plan))[run]
    study = of(check(given, kind), 8 if given.get('dataset', 'digits') == 'digits' else 32)
    p = study.protocol
    more = dict(rounds=study.matching.rounds, steps=study.matching.steps) if run == 'mdc' else dict(regime=p.regime)
    return dict(student=p.student, epochs=p.training.epochs, **more)

# --- figures

def stems(results=ROOT/'results')->dict:
    "{stem of a figure: the last row that it shows}, named as run_figures names them"
    out = {}
    for r in rows('edc', results): out[f"edc-{r['dataset']}-ipc{r['ipc']}"] = r
    for r in rows('mdc', results): out['-'.join(['mdc', *([r['ablation']] if r.get('ablation') else []), r['dataset'], f"ipc{r['ipc']}"])] = r
    for r in rows('ablations', results):
        out[f"ablation-{r['ablation']}-{r['dataset']}-ipc{r['ipc']}"] = r
        if r['ablation'] == 'letters': out[f"letters-{r['dataset']}-ipc{r['ipc']}"] = r
    return out

DRAWN = {}                                                      # stem: command, for a figure that neither its files nor its name explain
ROW = {'edc-cifar10-ipc10-small':dict(student='resnet18')}      # stem: what its row has, where the last row of that name is another one

def figure(file, known, say, results=ROOT/'results')->dict:
    "What the gallery says of one figure: who draws it, from which run"
    stem = file.stem
    of = next((k for k in sorted(known, key=len, reverse=True) if stem == k or stem.startswith(f'{k}-')), None)
    row = known.get(of)
    if row and stem in ROW: row = last_like({k:row[k] for k in ('run', 'dataset', 'ipc')} | ROW[stem], results) or row
    from_rows = all(file.with_suffix(e).exists() for e in ('.svg', '.csv'))             # what run_figures keeps
    ran = say(row) if row else None
    drawn = DRAWN.get(stem) or ('make figures' if from_rows else ran)
    if not drawn: raise PageError(f"figures/{file.name}: no row of results/ has this name and no .svg and .csv lie beside it; add its command to DRAWN in docs/commands.py")
    return dict(stem=stem, file=file, row=row, ran=ran if drawn != ran else None, drawn=drawn, from_rows=from_rows, part=stem[len(of)+1:] if of else '')

def last_like(wanted, results):
    "The last row of a run that has the wanted values"
    name = dict(ablation='ablations').get(wanted['run'], wanted['run'])
    return next((r for r in reversed(rows(name, results)) if all(r.get(k) == v for k,v in wanted.items())), None)

def sayer(books):
    "row -> command, by the parameters of the run notebooks"
    given = {b.slug.removeprefix('run_'):parameters(b) for b in books if b.slug.startswith('run_')}
    def say(row):
        run = row['run']
        if run not in given: return None
        try: return command(row, given[run], partial(planned, run))
        except Exception as e: raise PageError(f"no command for a row of run {run}, {row.get('dataset')} ipc {row.get('ipc')}: {e}") from e
    return say

NAMES = dict(cifar10='CIFAR-10', cifar100='CIFAR-100', digits='digits', imagenet10='ImageNet-10')

def nice(dataset): return NAMES.get(dataset, dataset)

def heading(f)->str:
    "A human title of a figure, below that of its group"
    r,stem = f['row'], f['stem']
    if not r: return stem.replace('-', ' ').replace('_', ' ')
    what = r['ablation'].replace('_', ' ') if r.get('ablation') and not stem.startswith('letters') else dict(edc='start and result', mdc='accuracy by size').get(stem.split('-')[0], '')
    images = 'the images' if f['part'] == 'images' else what
    return ', '.join(filter(None, [images[:1].upper()+images[1:], f"{nice(r['dataset'])}", f"{r['ipc']} images a class"]))

def told(f)->str:
    "Scale, number of runs and students, machine, commit: what a reader must know of the numbers"
    r = f['row']
    if not r: return ''
    runs = f"{r['runs']} run{'s'*(r['runs'] > 1)} of {r['seeds']} student{'s'*(r['seeds'] > 1)}" if 'runs' in r else f"{r.get('seeds') or len(next(first_scores(r))['accuracies'])} students"
    return ', '.join(map(str, filter(None, [r.get('scale'), runs, r.get('student') and f"student `{r['student']}`", r.get('regime') and f"{r['regime']} labels", r.get('machine'), r.get('commit') and f"commit `{r['commit'][:7]}`"])))

def about(f, docs)->str:
    "One sentence on what a figure asks"
    r = f['row']
    return docs.get(r['ablation'], '') if r and r.get('ablation') else ''

def gallery(figures, docs)->str:
    "The page of all figures"
    groups = dict(letters='EDC, letter by letter', edc='Images of EDC', mdc='MDC', ablation='Ablations of EDC')
    def group(f):
        k = f['stem'].split('-')[0]
        return k if k in groups else 'other'
    out = ["# Gallery\n\n> Every figure of the repository with the command that drew it.\n\n`make figures` draws all of them again from `results/`, without training; the run that made the numbers is named below each. A click opens a figure in full size.\n"]
    for k,title in {**groups, 'other':'More'}.items():
        mine = [f for f in figures if group(f) == k]
        if mine: out += [f'## {title}\n', *(shown(f, docs) for f in mine)]
    return '\n'.join(out)

def shown(f, docs)->str:
    name,said = f['file'].name, about(f, docs)
    files = ' · '.join(f'[{e[1:].upper()}](figures/{f["stem"]}{e})' for e in ('.svg', '.csv') if f['file'].with_suffix(e).exists())
    lines = [f"(figure-{f['stem']})=", f"### {heading(f)}\n", f'{said}\n' if said else '', f"```{{image}} figures/{name}\n:alt: {heading(f)}\n:target: _images/{name}\n```\n", f'{{.where}}\n{told(f)}\n']
    lines += [f"Drawn by `{f['drawn']}`" + (f" from the row of\n\n    {f['ran']}\n" if f['ran'] else '\n') if f['from_rows'] else f"Drawn by\n\n    {f['drawn']}\n"]
    return '\n'.join([*lines, f'{files}\n' if files else ''])

# --- hours

def clock(seconds)->str:
    "'48 s', '12 min', '3.4 h', never broken over two lines"
    if seconds < 90: return f'{seconds:.0f}\N{NO-BREAK SPACE}s'
    return f'{seconds/60:.0f}\N{NO-BREAK SPACE}min' if seconds < 5400 else f'{seconds/3600:.1f}\N{NO-BREAK SPACE}h'

def plain_machine(m)->str: return re.sub(r'\(R\)|\(TM\)| Processor| CPU', '', m)

def hours(results, say)->str:
    "What runs took, from their rows: the last of each kind"
    last = {}
    for name in ('edc', 'mdc'):
        for r in rows(name, results):
            if r.get('seconds') and not r.get('ablation'): last[name, r['dataset'], r['ipc'], r['method'], r['student'], r['regime']] = r
    def line(r):
        s = r['seconds']
        stages = ', '.join(f'{k} {clock(v)}' for k,v in s.items())
        return f"| `{say(r)}` | {clock(sum(s.values()))} | {stages} | {r.get('memory', '–')} GiB | {plain_machine(r['machine'])} |"
    ordered = sorted(last.values(), key=lambda r: sum(r['seconds'].values()))
    return '\n'.join(['| command | in all | of it | memory | machine |', '| --- | --- | --- | --- | --- |', *map(line, ordered)])

# --- the terminal

def terminal(main, name='dc_nb')->str:
    "Every command of the click group `main` with its arguments and options"
    import click
    def options(c, ctx):
        for p in c.params:
            if getattr(p, 'hidden', False): continue
            head = ', '.join(p.opts + p.secondary_opts) if isinstance(p, click.Option) else p.make_metavar(ctx)
            kind = '' if isinstance(p, click.Option) and p.is_flag or not isinstance(p, click.Option) else f' {p.make_metavar(ctx)}'
            default = f' (default {p.default})' if getattr(p, 'show_default', False) and p.default is not None and not callable(p.default) else ''
            if isinstance(p, click.Option): yield f"`{head}{kind}`\n: {escape(p.help or '')}{default}\n"
    def one(c, path):
        ctx = click.Context(c, info_name=path)
        usage = ' '.join([path, *c.collect_usage_pieces(ctx)])
        yield f"## {path}\n\n{escape(cleandoc(c.help or ''))}\n\n    {usage}\n"
        yield from options(c, ctx)
        for k,sub in sorted(getattr(c, 'commands', {}).items()): yield from one(sub, f'{path} {k}')
    return '\n'.join(["# Every command\n\n> What `--help` says, on one page.\n", *one(main, name)])

def escape(t)->str: return re.sub(r'(?<!`)([<>\[\]*_$])(?![^`]*`)', r'\\\1', t)
