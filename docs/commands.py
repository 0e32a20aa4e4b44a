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
    said = dict(re.findall(r'^(\w+)\s*:[^#\n]*#\s*(.*)$', source, re.M))
    return {o.target.id:(ast.unparse(o.annotation), ast.literal_eval(o.value), said.get(o.target.id, ''))
        for o in ast.parse(source).body if isinstance(o, ast.AnnAssign) and o.value is not None}

def cell(v)->str: return str(v).replace('|', r'\|')

def parameter_table(book)->str:
    "The parameters of a run notebook as Markdown"
    lines = [f'| `{k}` | `{d!r}` | {cell(c)} |' for k,(_,d,c) in parameters(book).items()]
    return '\n'.join(['| parameter | default | meaning |', '| --- | --- | --- |', *lines])

# --- the command behind a row

GIVEN = ('ablation', 'dataset', 'ipc', 'method', 'preset', 'compare', 'sizes', 'rivals', 'runs', 'seeds', 'seed', 'precision')

def command(row, defaults, planned=None)->str:
    "The command whose run appended `row`: its parameters that are not the notebook's defaults"
    known = dict(row, seeds=students(row), sizes=sizes(row), compare=compared(row), rivals=rivals(row))
    given = [k for k in GIVEN if k in defaults and known.get(k) is not None]
    chosen = {k:known[k] for k in given if known[k] != defaults[k][1]}
    if planned:
        auto = planned(chosen)
        chosen |= {k:row[k] for k,v in auto.items() if row.get(k) is not None and row[k] != v and k in defaults}
    return ' '.join([f"dc_nb run {row['run']}", *(f'-p {k} {v}' for k,v in chosen.items())])

def students(row)->int|None:
    "How many students a score of the row has"
    if row.get('seeds'): return row['seeds']
    first = next(iter(row.get('scores', {}).values()), {})
    first = first if 'accuracies' in first else next(iter(first.values()), {})
    return len(first.get('accuracies', ())) or None

def sizes(row):
    s = row.get('sizes')
    return None if not s or s == list(range(1, row['ipc']+1)) else ','.join(map(str, s))

def compared(row):
    "The baselines of an MDC row, as its parameter says them"
    mine = [k for k in ('A', 'B', 'C', 'MDC') if k in row.get('scores', ())]
    return ','.join(mine) if row['run'] == 'mdc' else None

def rivals(row):
    "The rows beside `dedicated` of a comparison by size, as its parameter says them; None for all of them"
    if row['run'] != 'sizes' or 'hard labels' in row['scores']: return None
    return ','.join(k for k in row['scores'] if k != 'dedicated')

def planned(run, given)->dict:
    "What the preset chooses for the given parameters where they say nothing: student, epochs, rounds, regime"
    from dc_nb import ablation_runs, edc_runs, matching_runs, sizes
    from dc_nb.experiments import check
    runs = dict(edc=(edc_runs.Edc, edc_runs.study_of), ablation=(ablation_runs.Ablation, edc_runs.study_of),
        mdc=(matching_runs.Mdc, matching_runs.matching_study_of), sizes=(sizes.Sizes, edc_runs.study_of))
    if run not in runs: return {}
    kind,of = runs[run]
    try: study = of(check(given, kind), 8 if given.get('dataset', 'digits') == 'digits' else 32)
    except (ValueError, KeyError): return {}        # a row of a time when other names could be given
    p = study.protocol
    more = dict(rounds=study.matching.rounds, steps=study.matching.steps) if run == 'mdc' else dict(regime=p.regime)
    return dict(student=p.student, epochs=p.training.epochs, **more)

# --- figures

def stems(results=ROOT/'results')->dict:
    "{stem of a figure: the last row that it shows}, named as run_figures names them"
    out = {}
    for r in rows('edc', results): out[f"edc-{r['dataset']}-ipc{r['ipc']}"] = r
    for r in rows('mdc', results):
        out['-'.join(filter(None, [r['method'], r.get('ablation'), r['dataset'], f"ipc{r['ipc']}"]))] = r
    for r in rows('ablations', results):
        judge = f"-{r['student']}" if r['scale'] == 'paper' else ''
        out[f"ablation-{r['ablation']}-{r['dataset']}-ipc{r['ipc']}{judge}"] = r
        if r['ablation'] == 'letters': out[f"letters-{r['dataset']}-ipc{r['ipc']}"] = r
    for r in rows('sizes', results): out[f"sizes-{r['dataset']}-ipc{r['ipc']}"] = r
    return out

# stem: command, for a figure that neither its files nor its name explain
DRAWN = {'landscape-digits-resnet18':'python benchmarks/landscape.py',
    'mdc-classes-digits-ipc3-images':'dc_nb run mdc -p ipc 3 -p rounds 8 -p compare A,C,MDC -p ablation classes -p curve 3 '
        '-p draw A1,C,MDC -p seeds 2'}
# stem: what marks its row, where a later one has its name
ROW = {'edc-cifar10-ipc10-small':dict(student='resnet18')}

def figure(file, known, say, results=ROOT/'results')->dict:
    "What the gallery says of one figure: who draws it, from which run"
    stem = file.stem
    of = next((k for k in sorted(known, key=len, reverse=True) if stem == k or stem.startswith(f'{k}-')), None)
    row = known.get(of)
    if row and stem in ROW: row = last_like({k:row[k] for k in ('run', 'dataset', 'ipc')} | ROW[stem], results) or row
    from_rows = all(file.with_suffix(e).exists() for e in ('.svg', '.csv'))             # what run_figures keeps
    ran = say(row) if row else None
    drawn = DRAWN.get(stem) or ('make figures' if from_rows else ran)
    if not drawn: raise PageError(f"figures/{file.name}: no row of results/ has this name and no .svg and .csv lie "
        "beside it; add its command to DRAWN in docs/commands.py")
    part = stem[len(of)+1:] if of else ''
    return dict(stem=stem, file=file, row=row, ran=ran if drawn != ran else None, drawn=drawn, part=part)

def last_like(wanted, results):
    "The last row of a run that has the wanted values"
    name = dict(ablation='ablations').get(wanted['run'], wanted['run'])
    return next((r for r in reversed(rows(name, results)) if all(r.get(k) == v for k,v in wanted.items())), None)

def sayer(books):
    "row -> command, by the parameters of the run notebooks"
    given = {b.slug.removeprefix('run_'):parameters(b) for b in books if b.slug.startswith('run_')}
    def say(row):
        run = row['run']
        return command(row, given[run], partial(planned, run)) if run in given else None
    return say

NAMES = dict(cifar10='CIFAR-10', cifar100='CIFAR-100', digits='digits', imagenet10='ImageNet-10')

def nice(dataset): return NAMES.get(dataset, dataset)

def heading(f)->str:
    "A human title of a figure, below that of its group"
    r,stem = f['row'], f['stem']
    if not r: return stem.replace('-', ' ').replace('_', ' ')
    kind,family = stem.split('-')[0], (r.get('ablation') or '').replace('_', ' ')
    what = dict(edc='start and result', mdc='accuracy by size', sizes='EDC in every size').get(kind, '')
    if r['run'] == 'mdc' and r['method'] != 'mdc': what = f"{r['method'].upper()} with and without MDC"
    if family and kind != 'letters': what = family
    if f['part'] == 'images': what = 'the images'
    judge = r['student'] if kind == 'ablation' and stem.endswith(r['student']) else ''
    title = ', '.join(filter(None, [what, nice(r['dataset']), f"{r['ipc']} image{'s'*(r['ipc'] > 1)} a class", judge]))
    return title[:1].upper()+title[1:]

def told(f)->str:
    "Scale, number of runs and students, machine, commit: what a reader must know of the numbers"
    r = f['row']
    if not r: return ''
    def many(n, what): return f"{n} {what}{'s'*(n > 1)}" if n else None
    runs = f"{many(r['runs'], 'run')} of {many(r['seeds'], 'student')}" if 'runs' in r else many(students(r), 'student')
    words = dict(student='student `{}`', regime='{} labels', machine='{}', commit='commit `{:.7}`')
    said = r | dict(machine=plain_machine(r.get('machine') or ''))
    return ', '.join(filter(None, [r.get('scale'), runs, *(w.format(said[k]) for k,w in words.items() if said.get(k))]))

def about(f, docs)->str:
    "One sentence on what a figure asks"
    r = f['row']
    return docs.get(r['ablation'], '') if r and r.get('ablation') else ''

GALLERY = """# Gallery

> Every figure of the repository with the command that drew it.

What is drawn from rows of `results/`, `make figures` draws again without training; the run that made the row is named
below it. Pictures of sets are drawn by the run itself. A click opens a figure in full size.
"""

def gallery(figures, docs)->str:
    "The page of all figures"
    groups = dict(letters='EDC, letter by letter', edc='Images of EDC', mdc='MDC', ablation='Ablations of EDC', sizes='EDC in every size')
    def group(f):
        k = 'mdc' if f['row'] and f['row']['run'] == 'mdc' else f['stem'].split('-')[0]
        return k if k in groups else 'other'
    out = [GALLERY]
    for k,title in {**groups, 'other':'More'}.items():
        mine = [f for f in figures if group(f) == k]
        if mine: out += [f'## {title}\n', *(shown(f, docs) for f in mine)]
    return '\n'.join(out)

def shown(f, docs)->str:
    "A figure with its numbers, commands and files"
    name,title = f['file'].name, heading(f)
    image = f'```{{image}} figures/{name}\n:alt: {title}\n:target: _images/{name}\n```'
    by = f"`{f['drawn']}` from the row of\n\n    {f['ran']}" if f['ran'] else f"\n\n    {f['drawn']}"
    beside = [e for e in ('.svg', '.csv') if f['file'].with_suffix(e).exists()]
    files = ' · '.join(f"[{e[1:].upper()}](figures/{f['stem']}{e})" for e in beside)
    numbers = f'{{.where}}\n{told(f)}' if f['row'] else ''
    parts = [f"(figure-{f['stem']})=\n### {title}", about(f, docs), image, numbers, f'Drawn by {by}', files]
    return '\n\n'.join(filter(None, parts)) + '\n'

# --- hours

def clock(seconds)->str:
    "'48 s', '12 min', '3.4 h', never broken over two lines"
    if seconds < 90: return f'{seconds:.0f}\N{NO-BREAK SPACE}s'
    return f'{seconds/60:.0f}\N{NO-BREAK SPACE}min' if seconds < 5400 else f'{seconds/3600:.1f}\N{NO-BREAK SPACE}h'

def plain_machine(m)->str:
    "A processor's name without its trademarks"
    return re.sub(r'\b1 threads', '1 thread', re.sub(r'\(R\)|\(TM\)| Processor| CPU', '', m))

def hours(results, say)->str:
    "What runs took, from their rows: the last of each kind"
    last = {}
    for name in ('edc', 'mdc'):
        for r in rows(name, results):
            kind = tuple(r.get(k) for k in ('dataset', 'ipc', 'method', 'student', 'regime'))
            if r.get('seconds') and not r.get('ablation'): last[name, *kind] = r
    def line(r):
        s = r['seconds']
        stages = ', '.join(f'{k} {clock(v)}' for k,v in s.items())
        cells = f'`{say(r)}`', clock(sum(s.values())), stages, f"{r.get('memory', '–')} GiB"
        return f"| {' | '.join([*cells, plain_machine(r['machine'])])} |"
    ordered = sorted(last.values(), key=lambda r: sum(r['seconds'].values()))
    return '\n'.join(['| command | in all | of it | memory | machine |', '| --- '*5 + '|', *map(line, ordered)])

# --- the terminal

def terminal(main, name='dc_nb')->str:
    "Every command of the click group `main` with its arguments and options"
    import click
    def options(c, ctx):
        for p in c.params:
            if not isinstance(p, click.Option) or p.hidden: continue
            kind = '' if p.is_flag else f' {p.make_metavar(ctx)}'
            default = f' (default {p.default})' if p.show_default and isinstance(p.default, (str, int, float)) else ''
            yield f"`{', '.join(p.opts + p.secondary_opts)}{kind}`\n: {escape(p.help or '')}{default}\n"
    def one(c, path):
        ctx = click.Context(c, info_name=path)
        usage = ' '.join([path, *c.collect_usage_pieces(ctx)])
        yield f"## {path}\n\n{escape(cleandoc(c.help or ''))}\n\n    {usage}\n"
        yield from options(c, ctx)
        for k,sub in sorted(getattr(c, 'commands', {}).items()): yield from one(sub, f'{path} {k}')
    return '\n'.join(["# Every command\n\n> What `--help` says, on one page.\n", *one(main, name)])

def escape(t)->str:
    "A text of the terminal as Markdown: signs stay signs, and what is typed stays as it is typed"
    typed = re.sub(r'(?<![`\w-])--[a-z][\w-]*|eval "[^"]*"', r'`\g<0>`', t)
    return re.sub(r'(?<!`)([<>\[\]*_$])(?![^`]*`)', r'\\\1', typed)
