"Sphinx reads this file; the pages come from house.py"
import sys
from configparser import ConfigParser
from importlib.metadata import files
from pathlib import Path
from shutil import copyfile

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
settings = ConfigParser(delimiters=['='])
settings.read(HERE.parent/'settings.ini', encoding='utf-8')
cfg = settings['DEFAULT']

project = cfg['lib_name']
author = cfg['author']
copyright = cfg['copyright']
version = release = cfg['version']
language = 'en'

extensions = ['myst_nb', 'sphinx.ext.mathjax']
nb_execution_mode = 'off'                                   # the committed outputs are shown
nb_merge_streams = True
nb_code_prompt_show = nb_code_prompt_hide = 'Imports'      # stage.py says where it is other code
nb_render_markdown_format = 'myst'
myst_enable_extensions = ['amsmath', 'attrs_block', 'colon_fence', 'deflist', 'dollarmath', 'fieldlist']
myst_heading_anchors = 3
suppress_warnings = ['myst.header']                         # a notebook's quoted outputs may begin with any heading
exclude_patterns = ['_build']
templates_path = []

# equations: MathJax from the package, never from another host
mathjax_path = 'mathjax/tex-chtml.js'
mathjax3_config = dict(options=dict(enableMenu=False), chtml=dict(matchFontHeight=False))

add_module_names = False
toc_object_entries_show_parents = 'hide'
maximum_signature_line_length = 88
python_use_unqualified_type_names = True

html_theme = 'pydata_sphinx_theme'
html_title = project
html_static_path = [str(HERE/'static')]
html_css_files = ['site.css']
html_favicon = str(HERE/'static'/'icon.svg')
html_sidebars = dict(index=[], gallery=[])
html_show_sourcelink = False
html_copy_source = False
html_theme_options = dict(
    logo=dict(text=project),
    navbar_align='left', header_links_before_dropdown=6, navbar_persistent=[],
    navbar_end=['search-button', 'theme-switcher'], secondary_sidebar_items=['page-toc'], show_toc_level=2,
    show_prev_next=True, footer_start=['copyright'], footer_end=[], navigation_with_keys=False,
    pygments_light_style='github-light', pygments_dark_style='github-dark', back_to_top_button=False)
html_context = dict(default_mode='auto')

def mathjax(app, error):
    "Copy the one script and its fonts into the site"
    if error or app.builder.format != 'html': return
    found = [f for f in files('sphinx-mathjax-offline') if 'static/mathjax/' in f.as_posix()]
    for f in found:
        inside = f.as_posix().split('static/mathjax/')[1]
        if inside == 'tex-chtml.js' or inside.startswith(('output/chtml/fonts/woff', 'input/tex/extensions/')):
            target = Path(app.outdir)/'_static'/'mathjax'/inside
            target.parent.mkdir(parents=True, exist_ok=True)
            copyfile(f.locate(), target)
    (Path(app.outdir)/'_static'/'webpack-macros.html').unlink(missing_ok=True)      # a template of the theme, no page

def setup(app):
    app.connect('build-finished', mathjax)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
