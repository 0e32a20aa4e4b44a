"Everything is read from settings.ini, which nbdev reads too."
from configparser import ConfigParser
from pathlib import Path
from shutil import copy

from setuptools import setup
from setuptools.command.build_py import build_py

config = ConfigParser(delimiters=['='])
config.read('settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
run, dev, apps, ray, search = (cfg[f'{k}_requirements'].split() for k in ('run', 'dev', 'applications', 'ray', 'search'))

class WithNotebooks(build_py):
    "The run notebooks go into the wheel as dc_nb/notebooks; an editable install finds them in nbs/"
    def run(self):
        super().run()
        if self.editable_mode: return
        target = Path(self.build_lib)/'dc_nb'/'notebooks'
        target.mkdir(exist_ok=True)
        for f in Path('nbs').glob('run_*.ipynb'): copy(f, target)


setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=Path('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    keywords=cfg['keywords'],
    author=cfg['author'],
    author_email=cfg['author_email'],
    url=cfg['git_url'],
    license='Apache-2.0',
    classifiers=['Intended Audience :: Science/Research', 'Programming Language :: Python :: 3', f"Programming Language :: Python :: {cfg['min_python']}"],
    packages=['dc_nb', 'dc_nb.published'],
    # an editable install is a path then: Python beside a clone named dc_nb finds the package, not the folder
    package_dir={'': '.'},
    package_data={'dc_nb': ['shelf/*.safetensors'], 'dc_nb.published': ['*.csv']},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split(),
    extras_require={'run': run, 'applications': apps, 'ray': ray, 'search': search, 'dev': run + apps + search + dev},
    cmdclass={'build_py': WithNotebooks},
    entry_points={'console_scripts': ['dc_nb=dc_nb.cli:main'], 'nbdev': [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"]},
    zip_safe=False,
)
